-- Closing the books of a sale: its state, and the final accounting, written once and then only
-- read.

-- name: settle_sale
-- Settles a closed sale; from here on the ledger alone answers for the sale.
WITH told AS (SELECT pg_notify('dropgate_sales', $1))
UPDATE sales SET state = 'settled', version = version + 1, updated_at = now()
FROM told WHERE sale_id = $1 AND state = 'closed'
RETURNING version

-- name: count_open_letters
-- Dead letters that still hold a number of the sale's history.
SELECT count(*) FROM dead_letters
WHERE sale_id = $1 AND status IN ('dead', 'replay_requested') AND reason <> 'fenced'

-- name: wait_longer
-- A longer statement timeout: the accounting of a large sale reads all its orders.
SELECT set_config('statement_timeout', $1, true)

-- name: insert_settlement
INSERT INTO settlements (sale_id, currency, settled_by)
SELECT sale_id, currency, $2 FROM sales WHERE sale_id = $1

-- name: insert_settlement_lines
-- The accounting's lines: stock from the accounts, reasons from the events, money from the orders. An
-- import knows only sums: what was written off is in it as an adjustment, every return as restocked.
WITH imported AS (
    SELECT sku, location, sum(adjusted) AS adjusted, sum(returned) AS returned
    FROM ledger_import_accounts WHERE sale_id = $1 GROUP BY sku, location
), adjusted_for AS (
    SELECT payload->>'sku' AS sku, payload->>'location' AS location, payload->>'reason' AS reason,
           sum((payload->>'delta')::bigint) AS units
    FROM ledger_events WHERE sale_id = $1 AND block = block_of($1) AND type = 'adjust'
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT sku, location, '(imported)', adjusted FROM imported WHERE adjusted <> 0
), adjusted AS (
    SELECT sku, location, sum(units) AS units,
           jsonb_agg(jsonb_build_object('reason', reason, 'units', units) ORDER BY reason) AS reasons
    FROM adjusted_for GROUP BY sku, location
), returned_for AS (
    SELECT line->>'sku' AS sku, line->>'location' AS location, e.payload->>'reason' AS reason,
           sum(CASE WHEN (e.payload->>'restock')::boolean THEN quantity ELSE 0 END) AS restocked,
           sum(CASE WHEN (e.payload->>'restock')::boolean THEN 0 ELSE quantity END) AS written_off
    FROM ledger_events e
    CROSS JOIN LATERAL json_array_elements(e.payload->'lines') AS line
    CROSS JOIN LATERAL CAST(line->>'quantity' AS bigint) AS quantity
    WHERE e.sale_id = $1 AND e.block = block_of($1) AND e.type = 'return_units'
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT sku, location, '(imported)', returned, 0 FROM imported WHERE returned <> 0
), returned AS (
    SELECT sku, location, sum(restocked) AS restocked, sum(written_off) AS written_off,
           jsonb_agg(jsonb_build_object('reason', reason, 'restocked', restocked,
                                        'written_off', written_off) ORDER BY reason) AS reasons
    FROM returned_for GROUP BY sku, location
), bought AS (
    SELECT l.sku, l.location, sum(l.confirmed) AS confirmed,
           sum((l.confirmed - l.returned) * l.unit_price) AS revenue,
           sum(l.returned * l.unit_price) AS refunded
    FROM order_lines l
    WHERE l.sale_id = $1 AND l.block = block_of($1) AND l.confirmed > 0
    GROUP BY l.sku, l.location
), stock AS (
    SELECT sku, location, min(position) AS position, sum(loaded) AS loaded,
           sum(transferred) AS transferred, sum(sold) AS sold, sum(available) AS unsold
    FROM stock_accounts WHERE sale_id = $1
    GROUP BY sku, location
)
INSERT INTO settlement_lines (sale_id, sku, location, position, loaded, adjusted, adjustments,
    transferred, confirmed, restocked, written_off, returns, sold, unsold, revenue, refunded)
SELECT $1, sku, location, s.position, s.loaded,
       coalesce(a.units, 0), coalesce(a.reasons, '[]'), s.transferred, coalesce(b.confirmed, 0),
       coalesce(r.restocked, 0), coalesce(r.written_off, 0), coalesce(r.reasons, '[]'),
       s.sold, s.unsold, coalesce(b.revenue, 0), coalesce(b.refunded, 0)
FROM stock s
LEFT JOIN adjusted a USING (sku, location)
LEFT JOIN returned r USING (sku, location)
LEFT JOIN bought b USING (sku, location)

-- name: settlement
SELECT currency, settled_by, settled_at FROM settlements WHERE sale_id = $1

-- name: settlement_lines
SELECT sku, location, loaded, adjusted, adjustments, transferred, confirmed, restocked, written_off,
       returns, sold, unsold, revenue::bigint AS revenue, refunded::bigint AS refunded
FROM settlement_lines WHERE sale_id = $1 ORDER BY position, sku, location
