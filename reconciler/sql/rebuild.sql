-- What a partition is rebuilt from. Read in one transaction, so that all of it is of one moment.

-- name: rebuild_sale
SELECT spec, state FROM sales WHERE sale_id = $1

-- name: paused_items
SELECT sku FROM sale_items WHERE sale_id = $1 AND paused

-- name: rebuild_accounts
SELECT loaded, adjusted, transferred, in_transit, available, held, sold
FROM stock_accounts WHERE sale_id = $1 AND partition = $2
ORDER BY position

-- name: adjustments
-- The newest adjustments that had a key, newest first; a partition keeps $3. Up to the newest import they
-- are those that the partition kept then.
WITH newest AS MATERIALIZED (
    SELECT epoch, sequence, adjustments FROM ledger_imports
    WHERE sale_id = $1 AND partition = $2
    ORDER BY epoch DESC, sequence DESC LIMIT 1
), made AS MATERIALIZED (
    SELECT (payload ->> 'adjust_key') || ':' || (payload ->> 'fingerprint') AS key, sequence,
        (payload ->> 'occurred_at')::bigint AS occurred_at_ms, epoch
    FROM ledger_events
    WHERE sale_id = $1 AND block = block_of($1) AND partition = $2 AND type = 'adjust'
        AND payload ->> 'adjust_key' IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM newest
            WHERE (newest.epoch, newest.sequence) >= (ledger_events.epoch, ledger_events.sequence))
    ORDER BY epoch DESC, ledger_events.sequence DESC LIMIT $3
), kept AS (
    SELECT adjustments ->> (3 * n) AS key, (adjustments ->> (3 * n + 1))::bigint AS sequence,
        (adjustments ->> (3 * n + 2))::bigint AS occurred_at_ms, n
    FROM newest, generate_series(0, jsonb_array_length(adjustments) / 3 - 1) AS n
)
SELECT key, sequence, occurred_at_ms FROM (
    SELECT key, sequence, occurred_at_ms, epoch, sequence AS place FROM made
    UNION ALL
    SELECT key, sequence, occurred_at_ms, 0, n FROM kept
    WHERE NOT EXISTS (SELECT FROM made WHERE made.key = kept.key)
) known
ORDER BY epoch DESC, place DESC LIMIT $3

-- name: return_keys
-- What makes a repeated return the same return: `key:fingerprint`, as the record keeps it. Of a
-- reservation that was imported, the keys that its record had then, and those of later returns.
WITH imported AS MATERIALIZED (
    SELECT reservation_id, return_keys FROM imported_reservations
    WHERE sale_id = $1 AND partition = $2 AND return_keys <> '{}'
), made AS (
    SELECT reservation_id, (payload ->> 'return_key') || ':' || (payload ->> 'fingerprint') AS key,
        epoch, sequence
    FROM ledger_events
    WHERE sale_id = $1 AND block = block_of($1) AND partition = $2 AND type = 'return_units'
)
SELECT reservation_id, array_agg(key ORDER BY epoch, sequence) AS keys FROM (
    SELECT made.* FROM made LEFT JOIN imported USING (reservation_id)
    WHERE imported.return_keys IS NULL OR key <> ALL(imported.return_keys)
    UNION ALL
    SELECT reservation_id, key, 0, place FROM imported
    CROSS JOIN LATERAL unnest(return_keys) WITH ORDINALITY AS kept (key, place)
) known
GROUP BY reservation_id

-- name: extend_keys
-- What makes a repeated extension the same extension, of the reservations in $2: `key:milliseconds`.
WITH imported AS MATERIALIZED (
    SELECT reservation_id, extend_keys FROM imported_reservations
    WHERE reservation_id = ANY($2::text[])
), made AS (
    SELECT reservation_id, (payload ->> 'extend_key') || ':' || (payload ->> 'asked_ms') AS key,
        epoch, sequence
    FROM ledger_events
    WHERE block = block_of($1) AND reservation_id = ANY($2::text[]) AND type = 'extend'
        AND payload ->> 'extend_key' IS NOT NULL
)
SELECT reservation_id, array_agg(key ORDER BY epoch, sequence) AS keys FROM (
    SELECT made.* FROM made LEFT JOIN imported USING (reservation_id)
    WHERE imported.extend_keys IS NULL OR key <> ALL(imported.extend_keys)
    UNION ALL
    SELECT reservation_id, key, 0, place FROM imported
    CROSS JOIN LATERAL unnest(extend_keys) WITH ORDINALITY AS kept (key, place)
) known
GROUP BY reservation_id

-- name: rebuild_counts
SELECT count(*) AS reservations, count(*) FILTER (WHERE state = 'held') AS active_holds
FROM reservations WHERE sale_id = $1 AND block = block_of($1) AND partition = $2

-- name: read_as_stored
-- Two passes over whole tables, the lines kept in memory: a third of the work of reading in order.
SELECT set_config('max_parallel_workers_per_gather', '0', true),
    set_config('work_mem', '64MB', true)

-- name: read_in_order
-- The first rows come at once, along two indexes; a sort or a hash would read all rows first.
SELECT set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true)

-- name: rebuild_records
-- A row for each line; by account number, which is the account's position.
SELECT r.reservation_id, r.state, r.last_epoch, r.last_sequence, r.accepted_epoch,
    r.accepted_sequence, (date_part('epoch', r.deadline) * 1000)::bigint AS deadline_ms,
    r.extended_ms, r.buyer_id, r.fingerprint, r.payment_reference,
    a.position, l.quantity, l.confirmed, l.returned,
    (date_part('epoch', r.updated_at) * 1000)::bigint AS updated_ms, r.admission
FROM reservations r
JOIN order_lines l USING (sale_id, reservation_id, block)
JOIN stock_accounts a USING (sale_id, partition, sku, location)
WHERE r.sale_id = $1 AND r.block = block_of($1) AND r.partition = $2

-- name: rebuild_in_order
-- Appended to `rebuild_records`: the lines of a reservation follow each other.
ORDER BY r.reservation_id
