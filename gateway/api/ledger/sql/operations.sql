-- Statements of the audit log, the gauges and the health check.

-- name: write_audit
INSERT INTO audit_log (sale_id, actor, action, detail, request_id)
VALUES ($1, $2, $3, $4::jsonb, $5)

-- name: audit_page
-- One page of the audit log, newest first; $1 restricts it to one sale.
SELECT audit_id, sale_id, actor, action, detail, request_id, occurred_at FROM audit_log
WHERE ($1::text IS NULL OR sale_id = $1) AND ($2::bigint IS NULL OR audit_id < $2)
ORDER BY audit_id DESC LIMIT $3

-- name: ledger_alive
SELECT 1

-- name: ledger_lag
-- The watermarks of these sales, for the gauges.
SELECT w.sale_id, w.partition, w.epoch, w.sequence, w.stopped_reason
FROM watermarks w WHERE w.sale_id = ANY($1::text[])

-- name: reconciler_leads
-- Whether a reconciler has the lead now.
SELECT EXISTS (SELECT FROM reconciler_lease WHERE expires_at > clock_timestamp())

-- name: running_rooms
-- Waiting rooms of sales that are not settled, newest first.
SELECT sale_id FROM waiting_rooms JOIN sales USING (sale_id)
WHERE state <> 'settled' ORDER BY waiting_rooms.created_at DESC LIMIT $1
