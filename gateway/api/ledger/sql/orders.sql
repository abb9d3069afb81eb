-- Reservations and their orders in the ledger. A reservation is found by its id and block alone: with its
-- sale named too, a plan made for a small table would read the whole sale.

-- name: reservations_by_id
SELECT r.reservation_id, r.sale_id, r.partition, r.buyer_id, r.state, r.fingerprint, r.deadline,
       r.extended_ms, r.payment_reference, r.accepted_epoch, r.accepted_sequence, r.created_at,
       s.currency
FROM unnest($1::text[]) AS asked (id)
JOIN sales s ON s.sale_id = split_part(asked.id, '.', 1)
JOIN reservations r ON (r.reservation_id, r.block) = (asked.id, s.block)
WHERE r.block = ANY(blocks_of($1::text[]))

-- name: lines_by_reservation
SELECT l.reservation_id, l.sku, l.location, l.quantity, l.confirmed, l.returned, l.unit_price
FROM unnest($1::text[]) AS asked (id)
JOIN sales s ON s.sale_id = split_part(asked.id, '.', 1)
JOIN reservations r ON (r.reservation_id, r.block) = (asked.id, s.block)
JOIN order_lines l
  ON (l.sale_id, l.reservation_id, l.block) = (r.sale_id, r.reservation_id, r.block)
JOIN stock_accounts a
  ON (a.sale_id, a.partition, a.sku, a.location) = (r.sale_id, r.partition, l.sku, l.location)
WHERE r.block = ANY(blocks_of($1::text[])) AND l.block = ANY(blocks_of($1::text[]))
ORDER BY l.reservation_id, a.position

-- name: order_events_by_reservation
SELECT reservation_id, epoch, sequence, status, occurred_at, detail
FROM order_events
WHERE reservation_id = ANY($1::text[]) AND block = ANY(blocks_of($1::text[]))
ORDER BY reservation_id, epoch, sequence

-- name: orders_of_buyer
-- One page of a buyer's orders, newest first, after the last order of the page before. The only statement
-- that looks into every block: by the buyer's index of each.
SELECT reservation_id, created_at FROM reservations
WHERE buyer_id = $1
  AND ($2::timestamptz IS NULL OR (created_at, reservation_id) < ($2, $3))
ORDER BY created_at DESC, reservation_id DESC LIMIT $4

-- name: return_by_key
-- The fingerprint of the return made with this key, if the key was used.
SELECT payload->>'fingerprint' FROM ledger_events
WHERE block = block_of($1) AND partition = $2 AND type = 'return_units'
  AND reservation_id = $3 AND payload->>'return_key' = $4
UNION ALL
SELECT split_part(kept, ':', 2) FROM imported_reservations CROSS JOIN LATERAL unnest(return_keys) AS kept
WHERE reservation_id = $3 AND split_part(kept, ':', 1) = $4
LIMIT 1

-- name: extension_by_key
-- The milliseconds that the extension made with this key asked for, if the key was used.
SELECT payload->>'asked_ms' FROM ledger_events
WHERE block = block_of($1) AND partition = $2 AND type = 'extend'
  AND reservation_id = $3 AND payload->>'extend_key' = $4
UNION ALL
SELECT split_part(kept, ':', 2) FROM imported_reservations CROSS JOIN LATERAL unnest(extend_keys) AS kept
WHERE reservation_id = $3 AND split_part(kept, ':', 1) = $4
LIMIT 1
