-- The ledger's side of a comparison, folded back to the number of a snapshot.

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
    WHERE sale_id = $1 AND block = block_of($1) AND partition = $2
        AND (epoch, sequence) > ($3::int, $4::bigint)
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
WHERE sale_id = $1 AND block = block_of($1) AND partition = $2
    AND (accepted_epoch, accepted_sequence) <= ($3::int, $4::bigint)

-- name: whole_partition
-- A row for each line of what was accepted up to ($3, $4), in the order of the buyers; the columns
-- are those of `rebuild_records`.
SELECT r.reservation_id, r.state, r.last_epoch, r.last_sequence, r.accepted_epoch,
    r.accepted_sequence, (date_part('epoch', r.deadline) * 1000)::bigint AS deadline_ms,
    r.extended_ms, r.buyer_id, r.fingerprint, r.payment_reference,
    l.position, l.quantity, l.confirmed, l.returned,
    (date_part('epoch', r.updated_at) * 1000)::bigint AS updated_ms, r.admission
FROM reservations r
LEFT JOIN (
    SELECT reservation_id, position, quantity, confirmed, returned
    FROM order_lines JOIN stock_accounts USING (sale_id, sku, location)
    WHERE sale_id = $1 AND block = block_of($1) AND partition = $2
) l USING (reservation_id)
WHERE r.sale_id = $1 AND r.block = block_of($1) AND r.partition = $2
    AND (r.accepted_epoch, r.accepted_sequence) <= ($3::int, $4::bigint)
ORDER BY r.buyer_id, r.reservation_id

-- name: reservations_by_id
SELECT r.reservation_id, r.buyer_id, r.state, r.fingerprint,
    (extract(epoch FROM r.deadline) * 1000)::bigint AS deadline_ms, r.extended_ms,
    r.payment_reference, r.accepted_epoch, r.accepted_sequence, r.last_epoch, r.last_sequence,
    lines.packed AS lines
FROM reservations r
CROSS JOIN LATERAL (
    SELECT json_agg(json_build_array(sku, location, quantity, confirmed, returned))::text AS packed
    FROM order_lines l
    WHERE (l.sale_id, l.reservation_id, l.block) = (r.sale_id, r.reservation_id, r.block)
        AND l.block = ANY(blocks_of($1::text[]))
) AS lines
WHERE r.reservation_id = ANY($1::text[])
    AND r.block = ANY(blocks_of($1::text[]))

-- name: changed_between
-- Reservations with an event in (($3, $4), ($5, $6)], in the order of the events, $7 at a time.
SELECT e.epoch, e.sequence, e.reservation_id, r.buyer_id
FROM ledger_events e JOIN reservations r USING (reservation_id, block)
WHERE e.sale_id = $1 AND e.block = block_of($1) AND e.partition = $2
    AND (e.epoch, e.sequence) > ($3::int, $4::bigint)
    AND (e.epoch, e.sequence) <= ($5::int, $6::bigint)
ORDER BY e.epoch, e.sequence
LIMIT $7

-- name: known_reservations
SELECT reservation_id FROM reservations
WHERE reservation_id = ANY($1::text[])
    AND block = ANY(blocks_of($1::text[]))

-- name: buyer_numbers_at
-- What counts towards each buyer's limits at ($4, $5): units held or sold and not returned; and,
-- without a SKU, the highest admission number spent (key 0), how many reservations were given back
-- unpaid (key -1), how many of these in the latest window of $6 ms that has any (key -3), and this
-- window's number (key -4). Each buyer is looked up alone, and the partition asked for afterwards: without
-- statistics the planner takes the partition's index for the better one and reads the whole sale.
WITH effect (type, part, units) AS (VALUES
    ('reserve', 'lines', 1), ('confirm', 'released', -1), ('cancel', 'lines', -1),
    ('expire', 'lines', -1), ('return_units', 'lines', -1)
), own AS MATERIALIZED (
    SELECT r.* FROM unnest($3::text[]) AS asked (buyer_id)
    CROSS JOIN LATERAL (
        SELECT reservation_id, buyer_id, state, admission, partition, accepted_epoch,
            accepted_sequence, updated_at
        FROM reservations
        WHERE sale_id = $1 AND block = block_of($1) AND buyer_id = asked.buyer_id
        OFFSET 0
    ) r
    WHERE r.partition = $2
), later AS MATERIALIZED (
    SELECT type, reservation_id, payload FROM ledger_events
    WHERE sale_id = $1 AND block = block_of($1) AND partition = $2
        AND (epoch, sequence) > ($4::int, $5::bigint)
        AND payload ->> 'buyer_id' = ANY($3::text[])
), unpaid AS (
    SELECT DISTINCT ON (buyer_id) buyer_id, number AS unpaid_window, count(*) AS units
    FROM own CROSS JOIN LATERAL (
        SELECT (extract(epoch FROM updated_at) * 1000)::bigint / nullif($6::bigint, 0) AS number
    ) w
    WHERE state IN ('cancelled', 'expired') AND number IS NOT NULL
        AND reservation_id NOT IN (SELECT reservation_id FROM later WHERE type IN ('cancel', 'expire'))
    GROUP BY buyer_id, number
    ORDER BY buyer_id, number DESC
), counted AS (
    SELECT own.buyer_id, l.sku,
        CASE own.state WHEN 'held' THEN l.quantity WHEN 'confirmed' THEN l.confirmed - l.returned
            ELSE 0 END::bigint AS units
    FROM own
    CROSS JOIN LATERAL (
        SELECT sku, quantity, confirmed, returned FROM order_lines
        WHERE sale_id = $1 AND block = block_of($1) AND reservation_id = own.reservation_id
        OFFSET 0
    ) l
    UNION ALL
    SELECT payload ->> 'buyer_id', line ->> 'sku', -(line ->> 'quantity')::bigint * effect.units
    FROM later JOIN effect USING (type)
    CROSS JOIN LATERAL json_array_elements(payload -> effect.part) AS line
)
SELECT buyer_id, sku, NULL::int AS key, sum(units)::bigint AS number
FROM counted GROUP BY buyer_id, sku HAVING sum(units) <> 0
UNION ALL
SELECT buyer_id, NULL, -1, sum(given_back)::bigint FROM (
    SELECT buyer_id, 1 AS given_back FROM own WHERE state IN ('cancelled', 'expired')
    UNION ALL
    SELECT payload ->> 'buyer_id', -1 FROM later WHERE type IN ('cancel', 'expire')
) resolved GROUP BY buyer_id HAVING sum(given_back) <> 0
UNION ALL
SELECT buyer_id, NULL, -3, units FROM unpaid
UNION ALL
SELECT buyer_id, NULL, -4, unpaid_window FROM unpaid
UNION ALL
SELECT buyer_id, NULL, 0, max(admission) FROM own
WHERE admission IS NOT NULL AND (accepted_epoch, accepted_sequence) <= ($4::int, $5::bigint)
GROUP BY buyer_id
