-- name: lock_sale
-- Locks the sale whose state is about to change; concurrent changes of the sale wait here.
SELECT state, version, spec FROM sales WHERE sale_id = $1 FOR NO KEY UPDATE

-- name: write_state
-- Writes the intended state; at commit every process that caches the sale is notified.
WITH told AS (SELECT pg_notify('dropgate_sales', $1))
UPDATE sales SET state = $2, version = version + 1, updated_at = now()
FROM told WHERE sale_id = $1
RETURNING version

-- name: open_early
-- Moves `opens_at` of a sale opened early, by hand, to now, and removes a later `prequeue_at`.
UPDATE sales SET opens_at = now(), spec = CASE
    WHEN (spec #>> '{waiting_room,prequeue_at}')::timestamptz > now()
    THEN jsonb_set(jsonb_set(spec, '{waiting_room,prequeue_at}', 'null'), '{opens_at}', to_jsonb(now()))
    ELSE jsonb_set(spec, '{opens_at}', to_jsonb(now()))
END
WHERE sale_id = $1 AND opens_at > now()

-- name: add_partition
-- Writes the partition into the ledger before Redis has it, with nothing applied.
INSERT INTO watermarks (sale_id, partition, epoch, sequence) VALUES ($1, $2, 1, 0)

-- name: add_accounts
-- The stock as loaded; the `load` event folds to nothing, since these rows are its effect.
INSERT INTO stock_accounts
    (sale_id, partition, sku, location, position, floor, loaded, available)
SELECT $1, $2, sku, location, position, floor, units, units
FROM unnest($3::text[], $4::text[], $5::int[], $6::int[], $7::bigint[])
    AS account (sku, location, position, floor, units)

-- name: hold_state
-- The committed state, which nobody can change while this transaction carries it to the partitions.
SELECT state, spec FROM sales WHERE sale_id = $1 FOR SHARE

-- name: partitions_of_sale
-- Redis once had a partition if its server was seen alive, or if the ledger has applied its events.
SELECT partition, alive_at > 0 OR (epoch, sequence) <> (1, 0) AS was_loaded
FROM watermarks WHERE sale_id = $1 ORDER BY partition

-- name: note_loaded
-- Notes that Redis has the partition; if the partition is missing later, it was lost.
UPDATE watermarks SET alive_at = greatest(alive_at, $3) WHERE sale_id = $1 AND partition = $2

-- name: commit_without_disk
SET LOCAL synchronous_commit = off
