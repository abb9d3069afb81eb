-- Watermarks, epochs and dead letters: what decides how a partition goes on.

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

-- name: watermark
SELECT epoch, sequence FROM watermarks WHERE sale_id = $1 AND partition = $2

-- name: lock_watermark
-- Nothing is applied to the partition while its epoch is being closed.
SELECT epoch, sequence, fingerprint, alive_at, stopped_reason,
    (extract(epoch FROM event_time) * 1000)::bigint AS event_ms
FROM watermarks WHERE sale_id = $1 AND partition = $2 FOR UPDATE

-- name: close_epoch
-- Repeatable: an epoch that is closed already keeps its end and its successor.
INSERT INTO closed_epochs (sale_id, partition, epoch, last_sequence, fingerprint, next_epoch)
VALUES ($1, $2, $3, $4, $5, $3 + 1)
ON CONFLICT (sale_id, partition, epoch) DO UPDATE SET last_sequence = closed_epochs.last_sequence
RETURNING next_epoch

-- name: close_epoch_anew
-- As `close_epoch`, but with a successor that no event can bear yet: events that an interrupted
-- recovery wrote under the former successor are fenced off.
INSERT INTO closed_epochs (sale_id, partition, epoch, last_sequence, fingerprint, next_epoch)
VALUES ($1, $2, $3, $4, $5, $3 + 1)
ON CONFLICT (sale_id, partition, epoch) DO UPDATE SET next_epoch = closed_epochs.next_epoch + 1
RETURNING next_epoch

-- name: open_dead_letters
-- Numbers of the partition that a dead letter holds, with the reservation where it could be read.
SELECT epoch, sequence, reservation_id, reason
FROM dead_letters
WHERE sale_id = $1 AND partition = $2 AND status IN ('dead', 'replay_requested')
    AND reason <> 'fenced' AND sequence IS NOT NULL
ORDER BY epoch, sequence
LIMIT $3

-- name: newest_closed_epochs
SELECT epoch, last_sequence, coalesce(encode(fingerprint, 'hex'), '') AS fingerprint, next_epoch
FROM closed_epochs WHERE sale_id = $1 AND partition = $2
ORDER BY epoch DESC LIMIT $3
