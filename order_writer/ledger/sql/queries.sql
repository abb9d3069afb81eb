-- Statements of the order writer. All are set-based: arrays in, one row of each array per event,
-- reservation or account. Instants are milliseconds since 1970. What is only ever added (events,
-- reservations, their lines) has no statement here: statements.py copies it in. `{block}`
-- stands for sales.block: a change of rows in ledger_events, reservations or order_lines names the block
-- that they lie in, so that its plan is of one table. A reservation is found by its id alone: with its
-- sale named too, a plan made for a table without statistics would read the whole sale for each row.

-- name: lock_watermarks
-- In key order everywhere, so that two writers never wait for each other in a circle.
SELECT w.sale_id, w.partition, w.epoch, w.sequence, w.stopped_reason, w.log_offsets
FROM watermarks AS w
JOIN unnest($1::text[], $2::integer[]) AS k (sale_id, partition) USING (sale_id, partition)
ORDER BY w.sale_id, w.partition
FOR UPDATE OF w;

-- name: closed_epochs
-- Read after the locks, so that a closing that held them is seen.
SELECT c.sale_id, c.partition, c.epoch, c.last_sequence, c.next_epoch
FROM closed_epochs AS c
JOIN unnest($1::text[], $2::integer[]) AS k (sale_id, partition) USING (sale_id, partition);

-- name: close_epochs
-- Closings that the partition remembers and the ledger has forgotten, see order_writer/folding/closed.py.
INSERT INTO closed_epochs (sale_id, partition, epoch, last_sequence, fingerprint, next_epoch)
SELECT sale_id, partition, epoch, last_sequence, decode(nullif(fingerprint, ''), 'hex'), next_epoch
FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::text[], $6::integer[])
    AS u (sale_id, partition, epoch, last_sequence, fingerprint, next_epoch)
ON CONFLICT (sale_id, partition, epoch) DO UPDATE SET next_epoch = excluded.next_epoch;

-- name: adopt_states
-- The state of a sale of which the partition knows that the ledger had more: states that were intended since
-- are lost, and the partition is in the newest of them. Every process that caches the sale is notified.
UPDATE sales AS s
SET state = u.state, version = version + 1, updated_at = now()
FROM unnest($1::text[], $2::integer[], $3::text[], $4::integer[], $5::bigint[])
    AS u (sale_id, partition, state, epoch, sequence)
JOIN watermarks AS w USING (sale_id, partition)
WHERE s.sale_id = u.sale_id AND (w.epoch, w.sequence) < (u.epoch, u.sequence)
  AND s.state IN ('open', 'paused', 'closed') AND s.state <> u.state
RETURNING s.sale_id, s.state, pg_notify('dropgate_sales', s.sale_id);

-- name: newest_offsets
-- The last offset that any watermark has, for each place of the event log.
SELECT places.place, max(places.number::bigint) AS number
FROM watermarks, jsonb_each_text(log_offsets) AS places (place, number)
GROUP BY places.place;

-- name: write_audit
INSERT INTO audit_log (sale_id, actor, action, detail) VALUES ($1, $2, $3, $4::jsonb);

-- name: waiting_reservations
-- Reservations of these partitions with an event set aside: later events wait behind it.
SELECT DISTINCT d.reservation_id
FROM dead_letters AS d
JOIN unnest($1::text[], $2::integer[]) AS k (sale_id, partition) USING (sale_id, partition)
WHERE d.status IN ('dead', 'replay_requested')
  AND d.reason <> 'fenced' AND d.reservation_id IS NOT NULL;

-- name: blocks
-- From here on the transaction's statements are planned anew: a plan made for a block that was nearly
-- empty is the wrong one for what it grows to in a minute.
SELECT sale_id, block, set_config('plan_cache_mode', 'force_custom_plan', true)
FROM sales WHERE sale_id = ANY($1::text[]);

-- name: contradicted
-- The numbers that the history has with other bytes, or does not have at all. A void
-- number contradicts nothing: a readable copy may turn up after an unreadable one. Nor does a settled
-- sale: its history is closed, and may be archived elsewhere. Nor does a number that is known from an
-- import only.
SELECT k.sale_id, k.partition, k.epoch, k.sequence
FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::bytea[])
    AS k (sale_id, partition, epoch, sequence, fingerprint)
JOIN sales AS s USING (sale_id)
LEFT JOIN ledger_events AS e USING (sale_id, partition, epoch, sequence, block)
WHERE s.state <> 'settled'
  AND (e.fingerprint IS NULL OR (e.fingerprint <> k.fingerprint AND e.type <> 'void'))
  AND NOT EXISTS (
      SELECT FROM ledger_imports AS i
      WHERE i.sale_id = k.sale_id AND i.partition = k.partition
        AND (k.epoch, k.sequence) > (i.after_epoch, i.after_sequence)
        AND (k.epoch, k.sequence) <= (i.epoch, i.sequence))
ORDER BY k.sale_id, k.partition, k.epoch, k.sequence;

-- name: fill_void
-- A replayed event takes the number its dead letter held.
UPDATE ledger_events_block_{block} AS e
SET type = u.type, reservation_id = u.reservation_id, occurred_at = instant(u.occurred_at),
    fingerprint = u.fingerprint, payload = u.payload::json
FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::text[], $6::text[],
            $7::bigint[], $8::bytea[], $9::text[])
    AS u (sale_id, partition, epoch, sequence, type, reservation_id, occurred_at, fingerprint,
          payload)
WHERE e.sale_id = u.sale_id AND e.partition = u.partition AND e.epoch = u.epoch
  AND e.sequence = u.sequence AND e.type = 'void';

-- name: shift_deadlines
-- After an outage every hold keeps the time it had left.
UPDATE reservations_block_{block} AS r
SET deadline = r.deadline + u.shift_ms * interval '1 millisecond'
FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS u (sale_id, partition, shift_ms)
WHERE r.sale_id = u.sale_id AND r.partition = u.partition AND r.state = 'held';

-- name: change_reservations
-- Only from the state the events require; a missing row is a contradiction.
UPDATE reservations_block_{block} AS r
SET state = u.state,
    deadline = coalesce(instant(u.deadline), r.deadline),
    extended_ms = coalesce(u.extended_ms, r.extended_ms),
    payment_reference = coalesce(u.payment_reference, r.payment_reference),
    last_epoch = u.last_epoch, last_sequence = u.last_sequence, updated_at = instant(u.updated_at)
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
            $8::integer[], $9::bigint[], $10::bigint[])
    AS u (sale_id, reservation_id, required, state, deadline, extended_ms, payment_reference,
          last_epoch, last_sequence, updated_at)
WHERE r.reservation_id = u.reservation_id AND r.state = u.required;

-- name: change_order_lines
UPDATE order_lines_block_{block} AS l
SET confirmed = l.confirmed + u.confirmed, returned = l.returned + u.returned
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::integer[])
    AS u (sale_id, reservation_id, sku, location, confirmed, returned)
WHERE l.sale_id = u.sale_id AND l.reservation_id = u.reservation_id AND l.sku = u.sku
  AND l.location = u.location;

-- name: change_accounts
UPDATE stock_accounts AS a
SET adjusted = a.adjusted + u.adjusted, available = a.available + u.available,
    held = a.held + u.held, sold = a.sold + u.sold
FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
            $7::bigint[], $8::bigint[])
    AS u (sale_id, partition, sku, location, adjusted, available, held, sold)
WHERE a.sale_id = u.sale_id AND a.partition = u.partition AND a.sku = u.sku
  AND a.location = u.location;

-- name: unequal_accounts
-- A partition must be loaded with exactly the stock the ledger opened it with.
SELECT count(*)
FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::bigint[])
    AS u (sale_id, partition, sku, location, units)
FULL JOIN (SELECT a.sale_id, a.partition, a.sku, a.location, a.loaded
           FROM stock_accounts AS a
           WHERE (a.sale_id, a.partition) IN (SELECT * FROM unnest($1::text[], $2::integer[])))
    AS a USING (sale_id, partition, sku, location)
WHERE a.loaded IS DISTINCT FROM u.units;

-- name: pause_items
UPDATE sale_items AS i
SET paused = u.paused
FROM unnest($1::text[], $2::text[], $3::boolean[]) AS u (sale_id, sku, paused)
WHERE i.sale_id = u.sale_id AND i.sku = u.sku;

-- name: insert_dead_letters
INSERT INTO dead_letters (identity, sale_id, partition, epoch, sequence, reservation_id, reason,
                          error, raw, source)
SELECT identity, sale_id, partition, epoch, sequence, reservation_id, reason, error, raw,
       source::jsonb
FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::bigint[], $6::text[],
            $7::text[], $8::text[], $9::bytea[], $10::text[])
    AS d (identity, sale_id, partition, epoch, sequence, reservation_id, reason, error, raw, source)
ON CONFLICT (identity) DO NOTHING;

-- name: advance_watermarks
UPDATE watermarks AS w
SET epoch = u.epoch, sequence = u.sequence, fingerprint = u.fingerprint,
    event_time = coalesce(instant(u.event_time), w.event_time),
    log_offsets = w.log_offsets || u.offsets::jsonb, updated_at = now()
FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::bytea[], $6::bigint[],
            $7::text[])
    AS u (sale_id, partition, epoch, sequence, fingerprint, event_time, offsets)
WHERE w.sale_id = u.sale_id AND w.partition = u.partition;

-- name: stop_partitions
-- Nothing more is applied until a person has cleared the reason.
UPDATE watermarks AS w
SET stopped_reason = u.reason, updated_at = now()
FROM unnest($1::text[], $2::integer[], $3::text[]) AS u (sale_id, partition, reason)
WHERE w.sale_id = u.sale_id AND w.partition = u.partition AND w.stopped_reason IS NULL;

-- name: followed_partitions
-- Every partition of a sale that is not settled, with its watermark. Each sale's partitions are looked up
-- alone: a join would read the watermarks of all sales there ever were.
SELECT w.sale_id, w.partition, w.epoch, w.sequence, w.fingerprint, w.log_offsets,
       w.stopped_reason, w.tail_epoch, w.tail_sequence,
       (extract(epoch FROM now() - w.event_time))::double precision AS age_seconds
FROM sales AS s CROSS JOIN LATERAL (
    SELECT * FROM watermarks WHERE sale_id = s.sale_id OFFSET 0
) AS w
WHERE s.state <> 'settled'
ORDER BY w.sale_id, w.partition;

-- name: record_tails
UPDATE watermarks AS w
SET tail_epoch = u.epoch, tail_sequence = u.sequence
FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[])
    AS u (sale_id, partition, epoch, sequence)
WHERE w.sale_id = u.sale_id AND w.partition = u.partition
  AND (w.tail_epoch, w.tail_sequence) IS DISTINCT FROM (u.epoch, u.sequence);

-- name: requested_replays
SELECT dead_letter_id FROM dead_letters
WHERE status = 'replay_requested'
ORDER BY dead_letter_id
LIMIT $1;

-- name: letters_to_replay
-- The requested letter and, after it, the letters that wait behind it, in the order of their numbers.
SELECT d.dead_letter_id, d.sale_id, d.partition, d.epoch, d.sequence, d.reservation_id, d.reason,
       d.raw, d.status
FROM dead_letters AS d
JOIN dead_letters AS asked ON asked.dead_letter_id = $1
WHERE d.dead_letter_id = $1
   OR (d.sale_id = asked.sale_id AND d.partition = asked.partition
       AND d.reservation_id = asked.reservation_id AND d.reason = 'waits_behind'
       AND d.status IN ('dead', 'replay_requested')
       AND (d.epoch, d.sequence) > (asked.epoch, asked.sequence))
ORDER BY d.epoch, d.sequence, d.dead_letter_id
LIMIT $2;

-- name: stands_before
-- Whether an earlier letter of the same reservation is still open.
SELECT EXISTS (
    SELECT FROM dead_letters AS d
    JOIN dead_letters AS asked ON asked.dead_letter_id = $1
    WHERE d.sale_id = asked.sale_id AND d.partition = asked.partition
      AND d.reservation_id = asked.reservation_id AND d.reason <> 'fenced'
      AND d.status IN ('dead', 'replay_requested')
      AND (d.epoch, d.sequence) < (asked.epoch, asked.sequence));

-- name: resolve_letter
UPDATE dead_letters
SET status = $2, error = coalesce($3, error),
    resolved_at = CASE WHEN $2 = 'replayed' THEN now() END
WHERE dead_letter_id = $1;

-- name: letters_to_publish
-- In the order they were set aside; letters that another process has in hand are left to it.
SELECT dead_letter_id, identity, sale_id, partition, epoch, sequence, reservation_id, reason, error,
       raw
FROM dead_letters
WHERE published_at IS NULL
ORDER BY dead_letter_id
LIMIT $1
FOR UPDATE SKIP LOCKED;

-- name: mark_published
UPDATE dead_letters SET published_at = now() WHERE dead_letter_id = ANY ($1::bigint[]);

-- name: count_open_letters
SELECT count(*) FROM dead_letters WHERE status IN ('dead', 'replay_requested');

-- name: probe
-- Whether a connection is still there.
SELECT 1;
