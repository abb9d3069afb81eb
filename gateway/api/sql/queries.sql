-- name: sale_facts
-- What the request path must know of a sale; `partitions_exist` once it has been opened.
SELECT s.sale_id, s.state, s.version, s.spec, s.partitions, s.currency, s.hash_key,
       EXISTS (SELECT FROM watermarks w WHERE w.sale_id = s.sale_id) AS partitions_exist
FROM sales s WHERE s.sale_id = $1

-- name: running_sales
-- Sales whose partitions are in Redis, newest first.
SELECT sale_id FROM sales WHERE state IN ('open', 'paused', 'closed')
ORDER BY created_at DESC, sale_id LIMIT $1

-- name: lock_sale
-- The sale a transaction is about to change.
SELECT state, version FROM sales WHERE sale_id = $1 FOR NO KEY UPDATE

-- name: insert_sale
-- A new sale; nothing where somebody else was first.
INSERT INTO sales (sale_id, state, spec, partitions, currency, opens_at, closes_at, hash_key)
VALUES ($1, $2, $3::jsonb, $4, $5, $6, $7, $8)
ON CONFLICT (sale_id) DO NOTHING
RETURNING version

-- name: replace_sale
-- Another spec for a sale that was never opened; the key of its reservation ids stays.
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

-- name: tell_sale
-- Every process that caches the sale reads it again once this commits.
SELECT pg_notify('dropgate_sales', $1)

-- name: write_audit
INSERT INTO audit_log (sale_id, actor, action, detail, request_id)
VALUES ($1, $2, $3, $4::jsonb, $5)

-- name: paused_skus
SELECT sku FROM sale_items WHERE sale_id = $1 AND paused ORDER BY position

-- name: settle_sale
-- From here on the ledger alone answers for the sale.
WITH told AS (SELECT pg_notify('dropgate_sales', $1))
UPDATE sales SET state = 'settled', version = version + 1, updated_at = now()
FROM told WHERE sale_id = $1 AND state = 'closed'
RETURNING version

-- name: unsettle_sale
-- An event came in between: the sale is not settled after all, and its accounting is none.
WITH told AS (SELECT pg_notify('dropgate_sales', $1)),
     undone AS (DELETE FROM settlements WHERE sale_id = $1)
UPDATE sales SET state = 'closed', version = version + 1, updated_at = now()
FROM told WHERE sale_id = $1 AND state = 'settled'
RETURNING version

-- name: watermarks_of_sale
SELECT partition, epoch, sequence, stopped_reason FROM watermarks
WHERE sale_id = $1 ORDER BY partition

-- name: count_open_letters
-- Dead letters that still hold a number of the sale's history.
SELECT count(*) FROM dead_letters
WHERE sale_id = $1 AND status IN ('dead', 'replay_requested') AND reason <> 'fenced'

-- name: final_accounting
SELECT sku, location, sum(loaded)::bigint AS loaded, sum(adjusted)::bigint AS adjusted,
       sum(transferred)::bigint AS transferred, sum(in_transit)::bigint AS in_transit,
       sum(available)::bigint AS available, sum(held)::bigint AS held, sum(sold)::bigint AS sold
FROM stock_accounts WHERE sale_id = $1
GROUP BY sku, location ORDER BY min(position)

-- name: reservations_by_id
SELECT r.reservation_id, r.sale_id, r.partition, r.buyer_id, r.state, r.fingerprint, r.deadline,
       r.extended_ms, r.payment_reference, r.accepted_epoch, r.accepted_sequence, r.created_at,
       s.currency
FROM reservations r JOIN sales s USING (sale_id)
WHERE r.reservation_id = ANY($1::text[]) AND r.sale_id = ANY(sales_of($1::text[]))

-- name: lines_by_reservation
SELECT l.reservation_id, l.sku, l.location, l.quantity, l.confirmed, l.returned, l.unit_price
FROM order_lines l
JOIN reservations r USING (sale_id, reservation_id)
JOIN stock_accounts a
  ON (a.sale_id, a.partition, a.sku, a.location) = (r.sale_id, r.partition, l.sku, l.location)
WHERE l.reservation_id = ANY($1::text[]) AND l.sale_id = ANY(sales_of($1::text[]))
  AND r.sale_id = ANY(sales_of($1::text[]))
ORDER BY l.reservation_id, a.position

-- name: order_events_by_reservation
SELECT reservation_id, epoch, sequence, status, occurred_at, detail
FROM order_events
WHERE reservation_id = ANY($1::text[]) AND sale_id = ANY(sales_of($1::text[]))
ORDER BY reservation_id, epoch, sequence

-- name: orders_of_buyer
-- One page of a buyer's orders, newest first, after the last one of the page before.
SELECT reservation_id, created_at FROM reservations
WHERE buyer_id = $1
  AND ($2::timestamptz IS NULL OR (created_at, reservation_id) < ($2, $3))
ORDER BY created_at DESC, reservation_id DESC LIMIT $4

-- name: return_by_key
-- The fingerprint a return was made with, where its key was used.
SELECT payload->>'fingerprint' FROM ledger_events
WHERE sale_id = $1 AND partition = $2 AND type = 'return_units'
  AND reservation_id = $3 AND payload->>'return_key' = $4

-- name: request_reconciliation
WITH asked AS (
    INSERT INTO reconciliations (sale_id, apply, requested_by) VALUES ($1, $2, $3)
    RETURNING reconciliation_id
)
SELECT reconciliation_id, pg_notify('dropgate_reconciler', reconciliation_id::text) FROM asked

-- name: reconciliation_status
SELECT status FROM reconciliations WHERE reconciliation_id = $1

-- name: reconciliation
SELECT * FROM reconciliations WHERE reconciliation_id = $1

-- name: reconciliations_of_sale
SELECT * FROM reconciliations WHERE sale_id = $1 ORDER BY reconciliation_id DESC LIMIT $2

-- name: rebuilds
-- Partitions rebuilt from the ledger between a comparison and the one before it, told by their
-- epochs: the first event of an epoch says how it began.
SELECT r.reconciliation_id, e.partition, e.epoch, e.occurred_at,
       (e.payload #>> '{previous,epoch}')::integer AS previous_epoch,
       (e.payload #>> '{previous,sequence}')::bigint AS previous_sequence,
       (e.payload ->> 'shift_ms')::bigint AS shift_ms
FROM reconciliations r
CROSS JOIN LATERAL jsonb_to_recordset(r.watermarks) AS now_at (partition integer, epoch integer)
LEFT JOIN LATERAL (
    SELECT was_at.partition, was_at.epoch
    FROM (
        SELECT watermarks FROM reconciliations
        WHERE sale_id = r.sale_id AND reconciliation_id < r.reconciliation_id AND status = 'done'
        ORDER BY reconciliation_id DESC LIMIT 1
    ) last, jsonb_to_recordset(last.watermarks) AS was_at (partition integer, epoch integer)
) was_at USING (partition)
JOIN ledger_events e
  ON e.sale_id = r.sale_id AND e.partition = now_at.partition AND e.sequence = 1
 AND e.epoch > coalesce(was_at.epoch, 1) AND e.epoch <= now_at.epoch AND e.type = 'recover'
WHERE r.reconciliation_id = ANY($1::bigint[]) AND (e.payload ->> 'restored')::boolean
ORDER BY r.reconciliation_id, e.partition, e.epoch

-- name: differences
SELECT * FROM reconciliation_differences WHERE reconciliation_id = ANY($1::bigint[])
ORDER BY reconciliation_id, number LIMIT $2

-- name: dead_letters
SELECT * FROM dead_letters WHERE ($1::bigint IS NULL OR dead_letter_id < $1)
ORDER BY dead_letter_id DESC LIMIT $2

-- name: dead_letter
SELECT * FROM dead_letters WHERE dead_letter_id = $1

-- name: request_replay
-- Asks the order writer to apply a dead letter; what is resolved already stays as it is.
WITH told AS (SELECT pg_notify('dropgate_writer', ($1::bigint)::text))
UPDATE dead_letters SET status = 'replay_requested'
FROM told WHERE dead_letter_id = $1 AND status IN ('dead', 'replay_requested')
RETURNING status

-- name: running_rooms
-- Waiting rooms of sales that are not settled, the newest first.
SELECT sale_id FROM waiting_rooms JOIN sales USING (sale_id)
WHERE state <> 'settled' ORDER BY waiting_rooms.created_at DESC LIMIT $1

-- name: ledger_alive
SELECT 1

-- name: ledger_lag
-- Where the ledger stands, for the gauges.
SELECT w.sale_id, w.partition, w.epoch, w.sequence, w.stopped_reason
FROM watermarks w WHERE w.sale_id = ANY($1::text[])

-- name: item_floors
SELECT sale_id, sku, floor FROM sale_items WHERE sale_id = ANY($1::text[])

-- name: open_letters_by_reason
-- Every reason there is, so that a gauge returns to 0 and does not vanish.
SELECT known.reason, count(d.dead_letter_id)::bigint AS letters
FROM unnest(ARRAY['undecodable', 'refused', 'waits_behind', 'fenced', 'unnumbered',
                  'unknown_partition']) AS known (reason)
LEFT JOIN dead_letters d
  ON d.reason = known.reason AND d.status IN ('dead', 'replay_requested')
GROUP BY known.reason

-- name: drift
-- Unrepaired differences of each sale's last finished reconciliation.
SELECT r.sale_id, count(d.number)::bigint AS differences
FROM (SELECT DISTINCT ON (sale_id) sale_id, reconciliation_id FROM reconciliations
      WHERE status = 'done' AND sale_id = ANY($1::text[])
      ORDER BY sale_id, reconciliation_id DESC) r
LEFT JOIN reconciliation_differences d
  ON d.reconciliation_id = r.reconciliation_id AND NOT d.repaired
GROUP BY r.sale_id

-- name: sales_page
-- One page of all sales, newest first, after the last one of the page before.
SELECT sale_id, state, version, opens_at, closes_at, created_at FROM sales
WHERE $1::timestamptz IS NULL OR (created_at, sale_id) < ($1, $2)
ORDER BY created_at DESC, sale_id DESC LIMIT $3

-- name: audit_page
-- One page of the audit log, newest first; of one sale where it is named.
SELECT audit_id, sale_id, actor, action, detail, request_id, occurred_at FROM audit_log
WHERE ($1::text IS NULL OR sale_id = $1) AND ($2::bigint IS NULL OR audit_id < $2)
ORDER BY audit_id DESC LIMIT $3

-- name: sale_to_show
-- The sale a visitor of the demonstration sees first: one that goes on or is to come, else the last.
SELECT sale_id FROM sales WHERE state <> 'draft'
ORDER BY state IN ('scheduled', 'open', 'paused') DESC, created_at DESC LIMIT 1
