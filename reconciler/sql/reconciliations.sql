-- Reconciliations: asked for, planned, run, and kept with their differences.

-- name: reopen_reconciliations
-- Runs that a dead reconciler had begun: requested again where somebody waits for the result, or did
-- within $1 seconds; the others are over. A run by hand is left to its caller, who keeps it fresh.
UPDATE reconciliations
SET status = CASE WHEN abandoned THEN 'failed' ELSE 'requested' END,
    failure = CASE WHEN abandoned THEN 'abandoned' END,
    finished_at = CASE WHEN abandoned THEN now() END
FROM (SELECT reconciliation_id AS id, waited_at < now() - make_interval(secs => $1) AS abandoned
      FROM reconciliations WHERE status = 'running') begun
WHERE reconciliation_id = id AND status = 'running' AND (abandoned OR requested_by <> 'by hand')

-- name: plan_reconciliations
-- Requests a comparison of each of the sales $2 that is live and has had none for an interval; of a closed
-- sale, for ten intervals. A sale whose comparisons fail keeps the others waiting each time: every failure among its
-- last three doubles the interval.
WITH due AS MATERIALIZED (
    SELECT s.sale_id, CASE s.state WHEN 'closed' THEN 10 ELSE 1 END * make_interval(secs => $1::float8)
        AS every
    FROM unnest($2::text[]) AS asked (sale_id) JOIN sales s USING (sale_id)
    WHERE s.state IN ('open', 'paused', 'closed')
        AND NOT EXISTS (
            SELECT FROM reconciliations r
            WHERE r.sale_id = s.sale_id
                AND (r.status IN ('requested', 'running')
                    OR r.requested_at > now() - CASE s.state WHEN 'closed' THEN 10 ELSE 1 END
                        * make_interval(secs => $1::float8))
            OFFSET 0)  -- for each sale alone, by the index
)
INSERT INTO reconciliations (sale_id, requested_by)
SELECT due.sale_id, 'reconciler'
FROM due CROSS JOIN LATERAL (
    SELECT max(requested_at) AS at, count(*) FILTER (WHERE status = 'failed') AS failures
    FROM (SELECT requested_at, status FROM reconciliations r WHERE r.sale_id = due.sale_id
          ORDER BY reconciliation_id DESC LIMIT 3) newest
) last
WHERE last.failures = 0 OR last.at <= now() - due.every * 2 ^ last.failures

-- name: claim_reconciliation
-- The oldest request of a person, else the oldest periodic one; nobody else takes it meanwhile.
UPDATE reconciliations SET status = 'running', compared = 0, to_compare = NULL
WHERE reconciliation_id = (
    SELECT reconciliation_id FROM reconciliations WHERE status = 'requested'
    ORDER BY requested_by = 'reconciler', reconciliation_id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING reconciliation_id, sale_id, apply, requested_by

-- name: begin_reconciliation
INSERT INTO reconciliations (sale_id, requested_by, status) VALUES ($1, 'by hand', 'running')
RETURNING reconciliation_id

-- name: reservations_to_compare
-- How many reservations these partitions have, for the display of progress.
SELECT count(*) FROM reservations
WHERE sale_id = $1 AND block = block_of($1) AND partition = ANY($2::int[])

-- name: count_imports
SELECT count(*) FROM ledger_imports WHERE sale_id = $1

-- name: show_progress
UPDATE reconciliations
SET compared = $2, to_compare = $3, waited_at = CASE WHEN $4::boolean THEN now() ELSE waited_at END
WHERE reconciliation_id = $1 AND status = 'running'

-- name: restart_differences
-- A reconciliation that repairs may have been cut short: repaired differences stay on record, the
-- others are removed, to be found again. Returns the highest number in use.
WITH found_again AS (
    DELETE FROM reconciliation_differences WHERE reconciliation_id = $1 AND NOT repaired)
SELECT coalesce(max(number), 0) FROM reconciliation_differences WHERE reconciliation_id = $1

-- name: add_differences
INSERT INTO reconciliation_differences (reconciliation_id, number, partition, kind, sku, location,
    reservation_id, buyer_id, field, redis_value, ledger_value)
SELECT $1, d.* FROM unnest($2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::text[]) AS d

-- name: mark_repaired
UPDATE reconciliation_differences SET repaired = true
WHERE reconciliation_id = $1 AND number = ANY($2::int[])

-- name: finish_reconciliation
UPDATE reconciliations
SET status = 'done', failure = NULL, watermarks = $2::jsonb, compared = $3, to_compare = $4,
    finished_at = now(), balanced = NOT EXISTS (
        SELECT FROM reconciliation_differences d WHERE d.reconciliation_id = $1)
WHERE reconciliation_id = $1

-- name: fail_reconciliation
UPDATE reconciliations SET status = 'failed', failure = $2, finished_at = now()
WHERE reconciliation_id = $1

-- name: prune_reconciliations
-- Periodic reconciliations that found nothing are kept for an hour, and so are those with differences
-- beyond the newest hundred of their sale; all others stay.
WITH old AS (
    SELECT reconciliation_id FROM reconciliations r
    WHERE r.requested_by = 'reconciler' AND r.finished_at < now() - interval '1 hour'
        AND (r.balanced OR r.failure IS NOT NULL OR r.reconciliation_id <= (
            SELECT k.reconciliation_id FROM reconciliations k
            WHERE k.sale_id = r.sale_id AND k.requested_by = 'reconciler' AND NOT k.balanced
            ORDER BY k.reconciliation_id DESC OFFSET 100 LIMIT 1))
), gone AS (
    DELETE FROM reconciliation_differences WHERE reconciliation_id IN (SELECT * FROM old)
)
DELETE FROM reconciliations WHERE reconciliation_id IN (SELECT * FROM old)
