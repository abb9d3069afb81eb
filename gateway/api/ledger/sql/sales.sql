-- A sale as operators defined it: its facts, its items, the list of sales.

-- name: sale_facts
-- What the request path needs to know of a sale; `partitions_exist` once the sale has been opened.
SELECT s.sale_id, s.state, s.version, s.spec, s.partitions, s.currency, s.hash_key,
       EXISTS (SELECT FROM watermarks w WHERE w.sale_id = s.sale_id) AS partitions_exist
FROM sales s WHERE s.sale_id = $1

-- name: sales_page
-- One page of all sales, newest first, after the last sale of the page before.
SELECT sale_id, state, version, opens_at, closes_at, created_at FROM sales
WHERE $1::timestamptz IS NULL OR (created_at, sale_id) < ($1, $2)
ORDER BY created_at DESC, sale_id DESC LIMIT $3

-- name: sale_to_show
-- The sale that the demonstration shows first: the newest sale running or to come, else the newest.
SELECT sale_id FROM sales WHERE state <> 'draft'
ORDER BY state IN ('scheduled', 'open', 'paused') DESC, created_at DESC LIMIT 1

-- name: running_sales
-- Sales whose partitions are in Redis, newest first.
SELECT sale_id FROM sales WHERE state IN ('open', 'paused', 'closed')
ORDER BY created_at DESC, sale_id LIMIT $1

-- name: lock_sale
-- Locks the sale that a transaction is about to change.
SELECT state, version, spec FROM sales WHERE sale_id = $1 FOR NO KEY UPDATE

-- name: insert_sale
-- A new sale; no row when another request made it first.
INSERT INTO sales (sale_id, state, spec, partitions, currency, opens_at, closes_at, hash_key)
VALUES ($1, $2, $3::jsonb, $4, $5, $6, $7, $8)
ON CONFLICT (sale_id) DO NOTHING
RETURNING version

-- name: replace_sale
-- Replaces the spec of a sale that was never opened; the key of its reservation ids stays.
UPDATE sales SET state = $2, spec = $3::jsonb, partitions = $4, currency = $5, opens_at = $6,
       closes_at = $7, version = version + 1, updated_at = now()
WHERE sale_id = $1
RETURNING version

-- name: delete_items
DELETE FROM sale_items WHERE sale_id = $1

-- name: insert_items
INSERT INTO sale_items (sale_id, sku, position, name, price_amount, per_buyer_limit, floor)
SELECT $1, sku, position, name, price, most, floor
FROM unnest($2::text[], $3::int[], $4::text[], $5::bigint[], $6::int[], $7::int[])
    AS item (sku, position, name, price, most, floor)

-- name: paused_skus
SELECT sku FROM sale_items WHERE sale_id = $1 AND paused ORDER BY position

-- name: item_floors
SELECT sale_id, sku, floor FROM sale_items WHERE sale_id = ANY($1::text[])

-- name: tell_sale
-- Every process that caches the sale reads it again once this transaction commits.
SELECT pg_notify('dropgate_sales', $1)

-- name: watermarks_of_sale
SELECT partition, epoch, sequence, stopped_reason FROM watermarks
WHERE sale_id = $1 ORDER BY partition

-- name: final_accounting
SELECT sku, location, sum(loaded)::bigint AS loaded, sum(adjusted)::bigint AS adjusted,
       sum(transferred)::bigint AS transferred, sum(in_transit)::bigint AS in_transit,
       sum(available)::bigint AS available, sum(held)::bigint AS held, sum(sold)::bigint AS sold
FROM stock_accounts WHERE sale_id = $1
GROUP BY sku, location ORDER BY min(position)
