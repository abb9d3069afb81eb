-- name: lock_sale
-- The sale whose state is about to change; concurrent changes of it wait here.
SELECT state, version, spec FROM sales WHERE sale_id = $1 FOR NO KEY UPDATE

-- name: write_state
-- The intended state; every process that caches the sale is told when this commits.
WITH told AS (SELECT pg_notify('dropgate_sales', $1))
UPDATE sales SET state = $2, version = version + 1, updated_at = now()
FROM told WHERE sale_id = $1
RETURNING version

-- name: open_early
-- A sale opened by hand before its time opens now: its window and its waiting room begin with it.
UPDATE sales SET opens_at = now(), spec = CASE
    WHEN (spec #>> '{waiting_room,prequeue_at}')::timestamptz > now()
    THEN jsonb_set(jsonb_set(spec, '{waiting_room,prequeue_at}', 'null'), '{opens_at}', to_jsonb(now()))
    ELSE jsonb_set(spec, '{opens_at}', to_jsonb(now()))
END
WHERE sale_id = $1 AND opens_at > now()

-- name: add_partition
-- The ledger has the partition before Redis does: nothing is applied yet.
INSERT INTO watermarks (sale_id, partition, epoch, sequence) VALUES ($1, $2, 1, 0)

-- name: add_accounts
-- Its stock as loaded; the `load` event folds to nothing, since these rows are its effect.
INSERT INTO stock_accounts
    (sale_id, partition, sku, location, position, floor, loaded, available)
SELECT $1, $2, sku, location, position, floor, units, units
FROM unnest($3::text[], $4::text[], $5::int[], $6::int[], $7::bigint[])
    AS account (sku, location, position, floor, units)

-- name: hold_state
-- The state as committed, which nobody changes while this transaction carries it to the partitions.
SELECT state, spec FROM sales WHERE sale_id = $1 FOR SHARE

-- name: partitions_of_sale
-- Whether Redis ever had a partition is known from its server having been seen, or from its events.
SELECT partition, alive_at > 0 OR (epoch, sequence) <> (1, 0) AS was_loaded
FROM watermarks WHERE sale_id = $1 ORDER BY partition

-- name: note_loaded
-- From here on Redis has the partition, or has lost it.
UPDATE watermarks SET alive_at = greatest(alive_at, $3) WHERE sale_id = $1 AND partition = $2
