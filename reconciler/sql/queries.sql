-- name: try_lead
-- At most one session in the whole database gets this; it ends with the session.
SELECT pg_try_advisory_lock(hashtextextended('dropgate.reconciler', 0))

-- name: still_lead
SELECT 1

-- name: live_partitions
-- Every partition whose sale Redis serves, with how far the ledger has applied it.
SELECT w.sale_id, w.partition, s.state, w.epoch, w.sequence,
    w.alive_at > 0 OR (w.epoch, w.sequence) <> (1, 0) AS was_loaded
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
-- As above, but under a successor that no event can bear yet: what an interrupted recovery wrote
-- under the one before is fenced off.
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

-- name: watermark
SELECT epoch, sequence FROM watermarks WHERE sale_id = $1 AND partition = $2

-- name: accounts_at
-- The partition's accounts as they were at ($3, $4): today's, minus what later events did.
WITH effect (type, part, restock, available, held, sold, adjusted) AS (VALUES
    ('reserve',      'lines',    NULL::boolean, -1,  1,  0,  0),
    ('confirm',      'lines',    NULL,           0, -1,  1,  0),
    ('confirm',      'released', NULL,           1, -1,  0,  0),
    ('cancel',       'lines',    NULL,           1, -1,  0,  0),
    ('expire',       'lines',    NULL,           1, -1,  0,  0),
    ('return_units', 'lines',    true,           1,  0, -1,  0),
    ('return_units', 'lines',    false,          0,  0, -1, -1)
), later AS (
    SELECT type, payload FROM ledger_events
    WHERE sale_id = $1 AND partition = $2 AND (epoch, sequence) > ($3::int, $4::bigint)
), moved AS (
    SELECT line ->> 'sku' AS sku, line ->> 'location' AS location,
        (line ->> 'quantity')::bigint * e.available AS available,
        (line ->> 'quantity')::bigint * e.held AS held,
        (line ->> 'quantity')::bigint * e.sold AS sold,
        (line ->> 'quantity')::bigint * e.adjusted AS adjusted
    FROM later
    JOIN effect e ON e.type = later.type
        AND (e.restock IS NULL OR e.restock = (payload ->> 'restock')::boolean)
    CROSS JOIN LATERAL json_array_elements(payload -> e.part) AS line
    UNION ALL
    SELECT payload ->> 'sku', payload ->> 'location', (payload ->> 'delta')::bigint, 0, 0,
        (payload ->> 'delta')::bigint
    FROM later WHERE type = 'adjust'
), undone AS (
    SELECT sku, location, sum(available) AS available, sum(held) AS held, sum(sold) AS sold,
        sum(adjusted) AS adjusted
    FROM moved GROUP BY sku, location
)
SELECT a.sku, a.location, a.loaded, a.transferred, a.in_transit,
    (a.adjusted - coalesce(u.adjusted, 0))::bigint AS adjusted,
    (a.available - coalesce(u.available, 0))::bigint AS available,
    (a.held - coalesce(u.held, 0))::bigint AS held,
    (a.sold - coalesce(u.sold, 0))::bigint AS sold
FROM stock_accounts a LEFT JOIN undone u USING (sku, location)
WHERE a.sale_id = $1 AND a.partition = $2
ORDER BY a.position

-- name: reservations_at
-- How many reservations had been accepted at ($3, $4); records stay until the sale is settled.
SELECT count(*) FROM reservations
WHERE sale_id = $1 AND partition = $2
    AND (accepted_epoch, accepted_sequence) <= ($3::int, $4::bigint)

-- name: reservations_page
-- In the order of their acceptance, which no later change alters; up to ($5, $6), or a busy sale would
-- be followed for as long as it sells.
SELECT r.reservation_id, r.buyer_id, r.state, r.fingerprint,
    (extract(epoch FROM r.deadline) * 1000)::bigint AS deadline_ms, r.extended_ms,
    r.payment_reference, r.accepted_epoch, r.accepted_sequence, r.last_epoch, r.last_sequence,
    lines.packed AS lines
FROM reservations r
CROSS JOIN LATERAL (
    SELECT json_agg(json_build_array(sku, location, quantity, confirmed, returned))::text AS packed
    FROM order_lines l
    WHERE l.reservation_id = r.reservation_id AND l.sale_id = r.sale_id
) AS lines
WHERE r.sale_id = $1 AND r.partition = $2
    AND (r.accepted_epoch, r.accepted_sequence) > ($3::int, $4::bigint)
    AND (r.accepted_epoch, r.accepted_sequence) <= ($5::int, $6::bigint)
ORDER BY r.accepted_epoch, r.accepted_sequence
LIMIT $7

-- name: reservations_by_id
SELECT r.reservation_id, r.buyer_id, r.state, r.fingerprint,
    (extract(epoch FROM r.deadline) * 1000)::bigint AS deadline_ms, r.extended_ms,
    r.payment_reference, r.accepted_epoch, r.accepted_sequence, r.last_epoch, r.last_sequence,
    lines.packed AS lines
FROM reservations r
CROSS JOIN LATERAL (
    SELECT json_agg(json_build_array(sku, location, quantity, confirmed, returned))::text AS packed
    FROM order_lines l
    WHERE l.reservation_id = r.reservation_id AND l.sale_id = ANY(sales_of($1::text[]))
) AS lines
WHERE r.reservation_id = ANY($1::text[]) AND r.sale_id = ANY(sales_of($1::text[]))

-- name: changed_between
-- Reservations with an event in (($3, $4), ($5, $6)], in the order of the events, $7 at a time.
SELECT e.epoch, e.sequence, e.reservation_id, r.buyer_id
FROM ledger_events e JOIN reservations r USING (sale_id, reservation_id)
WHERE e.sale_id = $1 AND e.partition = $2
    AND (e.epoch, e.sequence) > ($3::int, $4::bigint)
    AND (e.epoch, e.sequence) <= ($5::int, $6::bigint)
ORDER BY e.epoch, e.sequence
LIMIT $7

-- name: known_reservations
SELECT reservation_id FROM reservations
WHERE reservation_id = ANY($1::text[]) AND sale_id = ANY(sales_of($1::text[]))

-- name: buyers_page
SELECT DISTINCT buyer_id FROM reservations
WHERE sale_id = $1 AND partition = $2 AND buyer_id > $3
    AND (accepted_epoch, accepted_sequence) <= ($4::int, $5::bigint)
ORDER BY buyer_id
LIMIT $6

-- name: buyer_numbers_at
-- What counts towards each buyer's limits at ($4, $5): units held or sold and not returned; and,
-- without a SKU, the highest admission number spent (key 0) and how many reservations were given
-- back unpaid (key -1).
WITH effect (type, part, units) AS (VALUES
    ('reserve', 'lines', 1), ('confirm', 'released', -1), ('cancel', 'lines', -1),
    ('expire', 'lines', -1), ('return_units', 'lines', -1)
), counted AS (
    SELECT r.buyer_id, l.sku,
        CASE r.state WHEN 'held' THEN l.quantity WHEN 'confirmed' THEN l.confirmed - l.returned
            ELSE 0 END::bigint AS units
    FROM reservations r JOIN order_lines l USING (sale_id, reservation_id)
    WHERE r.sale_id = $1 AND r.partition = $2 AND r.buyer_id = ANY($3::text[])
    UNION ALL
    SELECT e.payload ->> 'buyer_id', line ->> 'sku',
        -(line ->> 'quantity')::bigint * effect.units
    FROM ledger_events e
    JOIN effect ON effect.type = e.type
    CROSS JOIN LATERAL json_array_elements(e.payload -> effect.part) AS line
    WHERE e.sale_id = $1 AND e.partition = $2 AND (e.epoch, e.sequence) > ($4::int, $5::bigint)
        AND e.payload ->> 'buyer_id' = ANY($3::text[])
)
SELECT buyer_id, sku, NULL::int AS key, sum(units)::bigint AS number
FROM counted GROUP BY buyer_id, sku HAVING sum(units) <> 0
UNION ALL
SELECT buyer_id, NULL, -1, sum(given_back)::bigint FROM (
    SELECT buyer_id, 1 AS given_back FROM reservations
    WHERE sale_id = $1 AND partition = $2 AND buyer_id = ANY($3::text[])
        AND state IN ('cancelled', 'expired')
    UNION ALL
    SELECT payload ->> 'buyer_id', -1 FROM ledger_events
    WHERE sale_id = $1 AND partition = $2 AND (epoch, sequence) > ($4::int, $5::bigint)
        AND type IN ('cancel', 'expire') AND payload ->> 'buyer_id' = ANY($3::text[])
) resolved GROUP BY buyer_id HAVING sum(given_back) <> 0
UNION ALL
SELECT buyer_id, NULL, 0, max(admission) FROM reservations
WHERE sale_id = $1 AND partition = $2 AND buyer_id = ANY($3::text[]) AND admission IS NOT NULL
    AND (accepted_epoch, accepted_sequence) <= ($4::int, $5::bigint)
GROUP BY buyer_id

-- name: claim_reconciliation
-- The oldest one asked for; nobody else takes it meanwhile.
UPDATE reconciliations SET status = 'running'
WHERE reconciliation_id = (
    SELECT reconciliation_id FROM reconciliations WHERE status = 'requested'
    ORDER BY reconciliation_id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING reconciliation_id, sale_id, apply, requested_by

-- name: reopen_reconciliations
-- What a reconciler that died had begun is begun again; runs by hand are left to their callers.
UPDATE reconciliations SET status = 'requested'
WHERE status = 'running' AND requested_by <> 'by hand'

-- name: begin_reconciliation
INSERT INTO reconciliations (sale_id, requested_by, status) VALUES ($1, 'by hand', 'running')
RETURNING reconciliation_id

-- name: plan_reconciliations
-- A comparison of each live sale that has had none for the interval; of closed ones less often.
INSERT INTO reconciliations (sale_id, requested_by)
SELECT s.sale_id, 'reconciler'
FROM sales s
WHERE s.state IN ('open', 'paused', 'closed')
    AND NOT EXISTS (
        SELECT FROM reconciliations r
        WHERE r.sale_id = s.sale_id
            AND (r.status IN ('requested', 'running')
                OR r.requested_at > now() - CASE s.state WHEN 'closed' THEN 10 ELSE 1 END
                    * make_interval(secs => $1::float8)))

-- name: finish_reconciliation
UPDATE reconciliations
SET status = 'done', watermarks = $2::jsonb, finished_at = now(), balanced = NOT EXISTS (
    SELECT FROM reconciliation_differences d WHERE d.reconciliation_id = $1)
WHERE reconciliation_id = $1

-- name: fail_reconciliation
UPDATE reconciliations SET status = 'failed', failure = $2, finished_at = now()
WHERE reconciliation_id = $1

-- name: add_differences
INSERT INTO reconciliation_differences (reconciliation_id, number, partition, kind, sku, location,
    reservation_id, buyer_id, field, redis_value, ledger_value)
SELECT $1, d.* FROM unnest($2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::text[]) AS d

-- name: restart_differences
-- A reconciliation that repairs may have been cut short: what it repaired stays on record, the rest
-- is found again or gone. Returns the highest number in use.
WITH found_again AS (
    DELETE FROM reconciliation_differences WHERE reconciliation_id = $1 AND NOT repaired)
SELECT coalesce(max(number), 0) FROM reconciliation_differences WHERE reconciliation_id = $1

-- name: mark_repaired
UPDATE reconciliation_differences SET repaired = true
WHERE reconciliation_id = $1 AND number = ANY($2::int[])

-- name: prune_reconciliations
-- Periodic ones that found nothing are kept for an hour; every other one stays.
DELETE FROM reconciliations
WHERE requested_by = 'reconciler' AND (balanced OR failure IS NOT NULL)
    AND finished_at < now() - interval '1 hour'
