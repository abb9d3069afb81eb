-- Which sales and partitions there are, and what their windows ask for.

-- name: live_partitions
-- Every partition whose sale Redis serves, or those of the sale $1, with its watermark. Each sale's partitions
-- are looked up alone: a join would read the watermarks of all sales there ever were.
SELECT w.sale_id, w.partition, s.state, w.epoch, w.sequence,
    w.alive_at > 0 OR (w.epoch, w.sequence) <> (1, 0) AS was_loaded
FROM sales s CROSS JOIN LATERAL (
    SELECT * FROM watermarks WHERE sale_id = s.sale_id OFFSET 0
) w
WHERE s.state IN ('open', 'paused', 'closed') AND ($1::text IS NULL OR s.sale_id = $1)
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

-- name: write_audit
INSERT INTO audit_log (sale_id, actor, action, detail) VALUES ($1, $2, $3, $4::jsonb)

-- name: add_next_block
-- Makes the block after the newest where the newest is half full and the next is not there: by the last
-- number given to a sale, without a look at the sales.
SELECT add_block(newest.block + 1)
FROM (
    SELECT (number / 1000)::integer AS block, number % 1000 AS sales
    FROM pg_sequence_last_value(pg_get_serial_sequence('sales', 'ledger_number')) AS number
) newest
WHERE newest.sales >= 500
    AND to_regclass(format('order_lines_block_%s', newest.block + 1)) IS NULL
