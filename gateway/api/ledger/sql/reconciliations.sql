-- Reconciliations of Redis with the ledger: the gateway requests them, the reconciler makes them.

-- name: lock_reconciliations
-- Asks about one sale follow each other, so that the second one sees the first one's row.
SELECT pg_advisory_xact_lock(hashtextextended('dropgate.reconciliations.' || $1::text, 0))

-- name: join_reconciliation
-- The oldest run of the sale that has not ended and does all that is asked for; with $2, a repair.
-- Periodic runs, which may look at changes only, and runs by hand are left alone.
UPDATE reconciliations SET waited_at = now()
WHERE status IN ('requested', 'running') AND reconciliation_id = (
    SELECT reconciliation_id FROM reconciliations
    WHERE sale_id = $1 AND status IN ('requested', 'running') AND apply >= $2
        AND requested_by NOT IN ('reconciler', 'by hand')
    ORDER BY reconciliation_id LIMIT 1)
RETURNING reconciliation_id

-- name: request_reconciliation
WITH asked AS (
    INSERT INTO reconciliations (sale_id, apply, requested_by) VALUES ($1, $2, $3)
    RETURNING reconciliation_id
)
SELECT reconciliation_id, pg_notify('dropgate_reconciler', reconciliation_id::text) FROM asked

-- name: reconciliation_status
SELECT status FROM reconciliations WHERE reconciliation_id = $1

-- name: wait_for_reconciliation
-- Somebody waits for this run: a reconciler that finds it cut short makes it again.
UPDATE reconciliations SET waited_at = now()
WHERE reconciliation_id = $1 AND status IN ('requested', 'running')

-- name: reconciliation
SELECT * FROM reconciliations WHERE reconciliation_id = $1

-- name: reconciliations_of_sale
SELECT * FROM reconciliations WHERE sale_id = $1 ORDER BY reconciliation_id DESC LIMIT $2

-- name: rebuilds
-- Partitions rebuilt from the ledger between a reconciliation and the one before it. The first
-- event of an epoch says how the epoch began, so only those events are read.
SELECT r.reconciliation_id, e.partition, e.epoch, e.occurred_at,
       (e.payload #>> '{previous,epoch}')::integer AS previous_epoch,
       (e.payload #>> '{previous,sequence}')::bigint AS previous_sequence,
       (e.payload ->> 'shift_ms')::bigint AS shift_ms
FROM reconciliations r
CROSS JOIN LATERAL jsonb_to_recordset(r.watermarks) AS now_at (partition integer, epoch integer)
LEFT JOIN LATERAL (
    SELECT was_at.partition, was_at.epoch
    FROM (
        SELECT watermarks FROM reconciliations
        WHERE sale_id = r.sale_id AND reconciliation_id < r.reconciliation_id AND status = 'done'
        ORDER BY reconciliation_id DESC LIMIT 1
    ) last, jsonb_to_recordset(last.watermarks) AS was_at (partition integer, epoch integer)
) was_at USING (partition)
JOIN sales s USING (sale_id)
JOIN ledger_events e
  ON e.sale_id = r.sale_id AND e.block = s.block AND e.partition = now_at.partition AND e.sequence = 1
 AND e.epoch > coalesce(was_at.epoch, 1) AND e.epoch <= now_at.epoch AND e.type = 'recover'
WHERE r.reconciliation_id = ANY($1::bigint[]) AND (e.payload ->> 'restored')::boolean
ORDER BY r.reconciliation_id, e.partition, e.epoch

-- name: imports
-- Partitions whose ledger was imported from Redis' records between a reconciliation and the one before it.
SELECT r.reconciliation_id, i.partition, i.after_epoch, i.after_sequence, i.epoch, i.sequence,
       i.reservations, i.imported_at
FROM reconciliations r
JOIN ledger_imports i USING (sale_id)
LEFT JOIN LATERAL (
    SELECT finished_at FROM reconciliations
    WHERE sale_id = r.sale_id AND reconciliation_id < r.reconciliation_id AND status = 'done'
    ORDER BY reconciliation_id DESC LIMIT 1
) last ON true
WHERE r.reconciliation_id = ANY($1::bigint[]) AND r.status = 'done'
  AND i.imported_at <= r.finished_at
  AND i.imported_at > coalesce(last.finished_at, '-infinity')
ORDER BY r.reconciliation_id, i.partition, i.epoch, i.sequence

-- name: differences
SELECT * FROM reconciliation_differences WHERE reconciliation_id = ANY($1::bigint[])
ORDER BY reconciliation_id, number LIMIT $2

-- name: drift
-- Unrepaired differences of each sale's last finished reconciliation.
SELECT r.sale_id, count(d.number)::bigint AS differences
FROM (SELECT DISTINCT ON (sale_id) sale_id, reconciliation_id FROM reconciliations
      WHERE status = 'done' AND sale_id = ANY($1::text[])
      ORDER BY sale_id, reconciliation_id DESC) r
LEFT JOIN reconciliation_differences d
  ON d.reconciliation_id = r.reconciliation_id AND NOT d.repaired
GROUP BY r.sale_id
