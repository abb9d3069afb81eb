-- name: try_lead
-- At most one session in the whole database gets this; it ends with the session.
SELECT pg_try_advisory_lock(hashtextextended('dropgate.reconciler', 0))

-- name: still_lead
SELECT 1

-- name: live_partitions
-- Every partition whose sale Redis serves, with how far the ledger has applied it.
SELECT w.sale_id, w.partition, s.state, w.epoch, w.sequence
FROM watermarks w JOIN sales s USING (sale_id)
WHERE s.state IN ('open', 'paused', 'closed')
ORDER BY w.sale_id, w.partition

-- name: due_sales
-- Sales whose window asks for another state now.
SELECT sale_id, CASE WHEN closes_at <= now() THEN 'close' ELSE 'open' END AS verb
FROM sales
WHERE (state IN ('scheduled', 'open', 'paused') AND closes_at <= now())
   OR (state = 'scheduled' AND opens_at <= now())
ORDER BY sale_id

-- name: seconds_to_next_edge
-- Until the next opening or closing; null where none is planned.
SELECT extract(epoch FROM min(edge) - now())::float8
FROM sales, LATERAL (VALUES (opens_at), (closes_at)) AS window_of (edge)
WHERE state IN ('scheduled', 'open', 'paused') AND edge > now()

-- name: audit
INSERT INTO audit_log (sale_id, actor, action, detail) VALUES ($1, 'reconciler', $2, $3::jsonb)

-- name: note_alive
-- A row the writer holds is left out: a busy partition's clock is known from its events.
WITH free AS (
    SELECT sale_id, partition, seen.alive_at
    FROM watermarks
    JOIN unnest($1::text[], $2::int[], $3::bigint[]) AS seen (sale_id, partition, alive_at)
        USING (sale_id, partition)
    FOR NO KEY UPDATE OF watermarks SKIP LOCKED
)
UPDATE watermarks w SET alive_at = free.alive_at
FROM free
WHERE w.sale_id = free.sale_id AND w.partition = free.partition AND w.alive_at < free.alive_at

-- name: lock_watermark
-- Nothing is applied to the partition while its epoch is being closed.
SELECT epoch, sequence, fingerprint, alive_at, stopped_reason
FROM watermarks WHERE sale_id = $1 AND partition = $2 FOR UPDATE

-- name: close_epoch
-- Repeatable: an epoch that is closed already keeps its end and its successor.
INSERT INTO closed_epochs (sale_id, partition, epoch, last_sequence, fingerprint, next_epoch)
VALUES ($1, $2, $3, $4, $5, $3 + 1)
ON CONFLICT (sale_id, partition, epoch) DO NOTHING

-- name: closed_epoch
SELECT last_sequence, next_epoch FROM closed_epochs
WHERE sale_id = $1 AND partition = $2 AND epoch = $3

-- name: open_dead_letters
-- Numbers of the partition that a dead letter holds, with the reservation where it could be read.
SELECT epoch, sequence, reservation_id, reason
FROM dead_letters
WHERE sale_id = $1 AND partition = $2 AND status IN ('dead', 'replay_requested')
    AND reason <> 'fenced' AND sequence IS NOT NULL
ORDER BY epoch, sequence
LIMIT $3
