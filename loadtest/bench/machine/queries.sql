-- The statements that the benchmarks run in the Postgres of the stack under test.

-- name: applied
SELECT min(sequence) FROM watermarks WHERE sale_id = $1;

-- name: compared
SELECT EXISTS (SELECT FROM reconciliations WHERE sale_id = $1 AND finished_at IS NOT NULL);

-- name: doubled_buyers
SELECT count(*) FROM (
    SELECT FROM reservations WHERE sale_id = $1 GROUP BY buyer_id HAVING count(*) > 1
) AS doubled;

-- name: durability
SHOW synchronous_commit;

-- name: wait_for_ever
-- Filling a ledger takes one long statement after the other.
SET statement_timeout = 0;

-- name: fill_reservations
-- $2 reservations of as many buyers, with the numbers from $3 on: of ten five confirmed, three held.
INSERT INTO reservations (reservation_id, sale_id, partition, buyer_id, state, fingerprint, deadline,
    payment_reference, accepted_epoch, accepted_sequence, last_epoch, last_sequence, created_at,
    updated_at, block)
SELECT $1 || '.0.' || token, $1, 0, 'buyer-' || lpad(n::text, 7, '0'),
    CASE WHEN n % 10 < 5 THEN 'confirmed' WHEN n % 10 < 8 THEN 'held' ELSE 'expired' END, token,
    now() + interval '1 hour', CASE WHEN n % 10 < 5 THEN 'payment-' || n END, 1, $3 + n - 1, 1,
    $3 + n - 1, now(), now(), block_of($1)
FROM generate_series(1, $2::bigint) AS n,
    LATERAL translate(substr(encode(sha256(n::text::bytea), 'base64'), 1, 22), '+/', '-_') AS token;

-- name: fill_order_lines
-- One line for each reservation, over the accounts in turn.
INSERT INTO order_lines (reservation_id, sale_id, sku, location, quantity, confirmed, unit_price,
    block)
SELECT r.reservation_id, $1, a.sku, a.location, 1, CASE r.state WHEN 'confirmed' THEN 1 ELSE 0 END,
    4900, r.block
FROM reservations r JOIN stock_accounts a USING (sale_id, partition)
WHERE r.sale_id = $1 AND r.accepted_sequence BETWEEN $3 AND $3 + $2 - 1
    AND a.position = 1 + r.accepted_sequence % (
        SELECT count(*) FROM stock_accounts WHERE sale_id = $1);

-- name: fill_ledger_events
INSERT INTO ledger_events (sale_id, partition, epoch, sequence, type, reservation_id, occurred_at,
    fingerprint, payload, block)
SELECT $1, 0, 1, accepted_sequence, 'reserve', reservation_id, created_at, '\x00',
    json_build_object('type', 'reserve', 'reservation_id', reservation_id, 'buyer_id', buyer_id,
        'fingerprint', fingerprint, 'lines', json_build_array(json_build_object('sku', 'BENCH',
        'location', 'default', 'quantity', 1, 'unit_price', 4900))), block
FROM reservations WHERE sale_id = $1 AND accepted_sequence BETWEEN $3 AND $3 + $2 - 1;

-- name: fill_accounts
UPDATE stock_accounts a SET available = a.available - f.held - f.sold, held = a.held + f.held,
    sold = a.sold + f.sold
FROM (SELECT l.sku, l.location, count(*) FILTER (WHERE r.state = 'held') AS held,
          sum(l.confirmed) AS sold
      FROM reservations r JOIN order_lines l USING (sale_id, reservation_id)
      WHERE r.sale_id = $1 GROUP BY l.sku, l.location) AS f
WHERE a.sale_id = $1 AND (a.sku, a.location) = (f.sku, f.location);

-- name: fill_watermark
UPDATE watermarks SET sequence = $2, fingerprint = '\x00', event_time = now() WHERE sale_id = $1;

-- name: gather_statistics
-- As autovacuum would have done while the sale went on.
VACUUM ANALYZE;

-- name: checkpoint
-- In a sale that went on for long, no million rows would still wait to be written.
CHECKPOINT;

-- name: applied_of
SELECT sum(sequence)::bigint FROM watermarks WHERE sale_id = ANY($1::text[]);

-- name: all_compared
SELECT NOT EXISTS (
    SELECT FROM sales s
    WHERE s.state = 'open' AND NOT EXISTS (
        SELECT FROM reconciliations r WHERE r.sale_id = s.sale_id AND r.finished_at IS NOT NULL
    )
);

-- name: fill_old_sales
-- Settled sales with the numbers from $1 to $2.
INSERT INTO sales (sale_id, state, spec, partitions, currency, hash_key)
SELECT 'old-' || n, 'settled', '{}', 1, 'EUR', sha256(n::text::bytea)
FROM generate_series($1::int, $2::int) AS n;

-- name: fill_old_watermarks
INSERT INTO watermarks (sale_id, partition, epoch, sequence)
SELECT 'old-' || n, 0, 1, 0 FROM generate_series($1::int, $2::int) AS n;

-- name: fill_old_settlements
INSERT INTO settlements (sale_id, currency, settled_by, settled_at)
SELECT 'old-' || n, 'EUR', 'ops', now() - interval '1 day'
FROM generate_series($1::int, $2::int) AS n;

-- name: fill_old_removals
INSERT INTO settlement_removals (sale_id)
SELECT 'old-' || n FROM generate_series($1::int, $2::int) AS n;

-- name: fill_old_announcements
INSERT INTO settlement_announcements (sale_id)
SELECT 'old-' || n FROM generate_series($1::int, $2::int) AS n;

-- name: fill_old_reservations
-- $3 confirmed reservations of each old sale, of buyers who bought nothing else.
INSERT INTO reservations (reservation_id, sale_id, partition, buyer_id, state, fingerprint, deadline,
    payment_reference, accepted_epoch, accepted_sequence, last_epoch, last_sequence, created_at,
    updated_at, block)
SELECT s.sale_id || '.0.' || token, s.sale_id, 0, 'old-buyer-' || n || '-' || k, 'confirmed', token,
    now(), 'payment-' || n || '-' || k, 1, k, 1, k, now() - interval '1 day', now(), s.block
FROM generate_series($1::int, $2::int) AS n JOIN sales s ON s.sale_id = 'old-' || n
CROSS JOIN generate_series(1, $3::int) AS k,
    LATERAL translate(substr(encode(sha256((n || '-' || k)::bytea), 'base64'), 1, 22), '+/', '-_')
    AS token;

-- name: fill_old_order_lines
INSERT INTO order_lines (reservation_id, sale_id, sku, location, quantity, confirmed, unit_price,
    block)
SELECT r.reservation_id, r.sale_id, 'BENCH', 'default', 1, 1, 4900, r.block
FROM generate_series($1::int, $2::int) AS n JOIN reservations r ON r.sale_id = 'old-' || n;

-- name: fill_old_ledger_events
INSERT INTO ledger_events (sale_id, partition, epoch, sequence, type, reservation_id, occurred_at,
    fingerprint, payload, block)
SELECT r.sale_id, 0, 1, r.accepted_sequence, 'reserve', r.reservation_id, r.created_at, '\x00', '{}',
    r.block
FROM generate_series($1::int, $2::int) AS n JOIN reservations r ON r.sale_id = 'old-' || n;
