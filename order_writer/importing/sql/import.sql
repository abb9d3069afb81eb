-- An import of one partition: one transaction, in which nothing but the last statements locks what others
-- wait for. `{block}` stands for sales.block, as in ledger/sql/queries.sql. $1 is the sale, $2 the
-- partition, wherever a statement is about them.

-- name: take_time
-- An import reads and writes a whole partition, and reads Redis in between. It joins whole tables.
SELECT set_config('statement_timeout', '0', true),
    set_config('idle_in_transaction_session_timeout', '60s', true),
    set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true),
    set_config('plan_cache_mode', 'force_custom_plan', true)

-- name: lock_import
-- Of several order writers one imports.
SELECT pg_try_advisory_xact_lock(hashtextextended(format('dropgate.import.%s:%s', $1::text, $2::int), 0))

-- name: place
-- Where the ledger stands, and what it knows of the sale.
SELECT w.epoch, w.sequence, w.stopped_reason, s.state, s.block, s.spec::text AS spec
FROM watermarks w JOIN sales s USING (sale_id)
WHERE w.sale_id = $1 AND w.partition = $2

-- name: known_closed_epochs
SELECT epoch, last_sequence, coalesce(encode(fingerprint, 'hex'), '') AS fingerprint, next_epoch
FROM closed_epochs WHERE sale_id = $1 AND partition = $2

-- name: accounts
SELECT sku, location, loaded, adjusted, transferred, available, held, sold
FROM stock_accounts WHERE sale_id = $1 AND partition = $2 ORDER BY position

-- name: returned_units
-- What buyers have given back of each account, by the orders.
SELECT l.sku, l.location, sum(l.returned)::bigint AS returned
FROM reservations_block_{block} r
JOIN order_lines_block_{block} l USING (sale_id, reservation_id)
WHERE r.sale_id = $1 AND r.partition = $2 AND l.returned > 0
GROUP BY l.sku, l.location

-- name: create_staged
CREATE TEMP TABLE staged (
    reservation_id text, buyer_id text, state text, fingerprint text, deadline bigint,
    extended_ms bigint, payment_reference text, accepted_epoch integer, accepted_sequence bigint,
    last_epoch integer, last_sequence bigint, accounts integer[], units integer[],
    returned integer[], return_keys text[], extend_keys text[]
) ON COMMIT DROP;
CREATE TEMP TABLE staged_buyers (buyer_id text, admission bigint) ON COMMIT DROP

-- name: index_staged
CREATE INDEX ON staged (reservation_id);
ANALYZE staged;
CREATE INDEX ON staged_buyers (buyer_id);
ANALYZE staged_buyers

-- name: drop_repeats
-- A scan may return a record twice; its newest copy stays.
DELETE FROM staged s USING staged t
WHERE t.reservation_id = s.reservation_id
    AND (t.last_epoch, t.last_sequence, t.ctid) > (s.last_epoch, s.last_sequence, s.ctid)

-- name: contradicting
-- Reservations of which the ledger has a later event than Redis: it is no older copy of this history.
SELECT s.reservation_id FROM staged s JOIN reservations_block_{block} r USING (reservation_id)
WHERE (r.last_epoch, r.last_sequence) > (s.last_epoch, s.last_sequence)
LIMIT 1

-- name: count_changed
SELECT count(*) FROM staged s LEFT JOIN reservations_block_{block} r USING (reservation_id)
WHERE r.reservation_id IS NULL
    OR (r.last_epoch, r.last_sequence) < (s.last_epoch, s.last_sequence)

-- name: note_imported
-- What is missing, or has changed, with the keys of its calls.
INSERT INTO imported_reservations (reservation_id, sale_id, partition, epoch, sequence,
    return_keys, extend_keys)
SELECT s.reservation_id, $1, $2, $3, $4, s.return_keys, s.extend_keys
FROM staged s LEFT JOIN reservations_block_{block} r USING (reservation_id)
WHERE r.reservation_id IS NULL
    OR (r.last_epoch, r.last_sequence) < (s.last_epoch, s.last_sequence)
ON CONFLICT (reservation_id) DO UPDATE
SET epoch = excluded.epoch, sequence = excluded.sequence, return_keys = excluded.return_keys,
    extend_keys = excluded.extend_keys

-- name: merge_reservations
-- A record that is newer than the ledger's row, and the deadline of every hold: outages move it without
-- an event of the reservation. No record says when a reservation was accepted: at most its deadline
-- less the length of a hold ($3) and of its extensions. $4: when Redis was read.
INSERT INTO reservations AS r (reservation_id, sale_id, partition, buyer_id, state, fingerprint,
    deadline, extended_ms, payment_reference, accepted_epoch, accepted_sequence, last_epoch,
    last_sequence, created_at, updated_at, block)
SELECT reservation_id, $1, $2, buyer_id, state, fingerprint, instant(deadline), extended_ms,
    payment_reference, accepted_epoch, accepted_sequence, last_epoch, last_sequence,
    least(instant(deadline - extended_ms - $3::bigint), instant($4::bigint)),
    instant($4::bigint), {block}
FROM staged
ON CONFLICT (reservation_id, block) DO UPDATE
SET state = excluded.state, deadline = excluded.deadline, extended_ms = excluded.extended_ms,
    payment_reference = excluded.payment_reference, last_epoch = excluded.last_epoch,
    last_sequence = excluded.last_sequence, updated_at = excluded.updated_at
WHERE (r.last_epoch, r.last_sequence) < (excluded.last_epoch, excluded.last_sequence)
    OR (r.state = 'held' AND excluded.state = 'held' AND r.deadline <> excluded.deadline)

-- name: merge_lines
-- A record of a confirmed reservation has what was confirmed; what was reserved beyond that is known
-- where the ledger has the line.
INSERT INTO order_lines AS l (reservation_id, sale_id, sku, location, quantity, confirmed, returned,
    unit_price, block)
SELECT s.reservation_id, $1, a.sku, a.location, u.units,
    CASE s.state WHEN 'confirmed' THEN u.units ELSE 0 END, u.returned, i.price_amount, {block}
FROM staged s
JOIN imported_reservations m USING (reservation_id)
CROSS JOIN LATERAL unnest(s.accounts, s.units, s.returned) AS u (position, units, returned)
JOIN stock_accounts a ON (a.sale_id, a.partition, a.position) = ($1, $2, u.position)
JOIN sale_items i ON (i.sale_id, i.sku) = ($1, a.sku)
WHERE (m.sale_id, m.partition, m.epoch, m.sequence) = ($1, $2, $3::int, $4::bigint)
ON CONFLICT (sale_id, reservation_id, sku, location, block) DO UPDATE
SET confirmed = excluded.confirmed, returned = excluded.returned
WHERE (l.confirmed, l.returned) <> (excluded.confirmed, excluded.returned)

-- name: merge_admissions
-- The highest number that a buyer has spent is that of the buyer's newest reservation; the numbers of
-- earlier ones are in no record.
UPDATE reservations_block_{block} r SET admission = newest.admission
FROM (
    SELECT DISTINCT ON (b.buyer_id) o.reservation_id, b.admission
    FROM staged_buyers b
    JOIN reservations_block_{block} o ON (o.sale_id, o.partition, o.buyer_id) = ($1, $2, b.buyer_id)
    WHERE o.admission IS NULL AND NOT EXISTS (
        SELECT FROM reservations_block_{block} spent
        WHERE (spent.sale_id, spent.partition, spent.buyer_id) = ($1, $2, b.buyer_id)
            AND spent.admission >= b.admission)
    ORDER BY b.buyer_id, o.accepted_epoch DESC, o.accepted_sequence DESC, b.admission DESC
) newest
WHERE r.reservation_id = newest.reservation_id

-- name: positions
-- The last event of each of these reservations, where the ledger has it.
SELECT reservation_id, last_epoch, last_sequence FROM reservations_block_{block}
WHERE reservation_id = ANY($1::text[])

-- name: add_import
INSERT INTO ledger_imports (sale_id, partition, epoch, sequence, after_epoch, after_sequence,
    until_epoch, until_sequence, reservations, unreadable, adjustments, read_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb, instant($12::bigint))

-- name: add_import_accounts
INSERT INTO ledger_import_accounts (sale_id, partition, epoch, sequence, sku, location, loaded,
    adjusted, transferred, available, held, sold, returned)
SELECT $1, $2, $3, $4, u.* FROM unnest($5::text[], $6::text[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]) AS u

-- name: set_accounts
UPDATE stock_accounts AS a
SET adjusted = u.adjusted, transferred = u.transferred, in_transit = u.in_transit,
    available = u.available, held = u.held, sold = u.sold
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::bigint[])
    AS u (sku, location, adjusted, transferred, in_transit, available, held, sold)
WHERE (a.sale_id, a.partition, a.sku, a.location) = ($1, $2, u.sku, u.location)

-- name: set_paused
UPDATE sale_items SET paused = (sku = ANY($2::text[]))
WHERE sale_id = $1 AND paused <> (sku = ANY($2::text[]))

-- name: set_state
-- Redis' state is the newer one, but for a sale that was closed in the ledger meanwhile.
WITH told AS (SELECT pg_notify('dropgate_sales', $1))
UPDATE sales SET state = $2, version = version + 1, updated_at = now()
FROM told WHERE sale_id = $1 AND state IN ('open', 'paused') AND state <> $2

-- name: add_closed_epochs
INSERT INTO closed_epochs (sale_id, partition, epoch, last_sequence, fingerprint, next_epoch)
SELECT $1, $2, epoch, last_sequence, nullif(decode(fingerprint, 'hex'), ''), next_epoch
FROM unnest($3::int[], $4::bigint[], $5::text[], $6::int[])
    AS u (epoch, last_sequence, fingerprint, next_epoch)
ON CONFLICT (sale_id, partition, epoch) DO UPDATE SET next_epoch = excluded.next_epoch
WHERE closed_epochs.next_epoch < excluded.next_epoch

-- name: dismiss_letters
-- What an event that was set aside did is in Redis' records; it may not happen twice.
UPDATE dead_letters
SET status = 'dismissed', resolved_at = now(), error = 'its effect was imported: ' || error
WHERE sale_id = $1 AND partition = $2 AND status IN ('dead', 'replay_requested')
    AND reason <> 'fenced' AND sequence IS NOT NULL AND (epoch, sequence) <= ($3::int, $4::bigint)

-- name: go_on
UPDATE watermarks
SET epoch = $3, sequence = $4, fingerprint = $5, event_time = instant($6::bigint),
    stopped_reason = NULL, updated_at = now()
WHERE sale_id = $1 AND partition = $2 AND (epoch, sequence) = ($7::int, $8::bigint)
    AND stopped_reason IS NOT NULL

-- name: write_audit
INSERT INTO audit_log (sale_id, actor, action, detail) VALUES ($1, 'order_writer', $2, $3::jsonb)
