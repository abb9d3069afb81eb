-- What the checkers ask the ledger. Sections named `*_violations` return one text per violation.
-- $1 is always the sale. `moves` and `steps` are filled once per verdict, in its transaction, and
-- fold the events from zero: nothing in them comes from the tables the order writer derives, but for
-- numbers that are known from an import only. Of these the accounts' sums are taken as they are, and
-- the reservations with such a number (`imported_reservations`) are left out where events are walked.

-- name: sale
SELECT state, partitions, hash_key, spec::text AS spec FROM sales WHERE sale_id = $1;

-- name: watermarks
SELECT partition, epoch, sequence, stopped_reason
FROM watermarks WHERE sale_id = $1 ORDER BY partition;

-- name: create_workspace
CREATE TEMP TABLE moves (
    partition integer, epoch integer, sequence bigint, kind text, reservation_id text,
    buyer_id text, sku text, location text,
    loaded bigint, adjusted bigint, available bigint, held bigint, sold bigint
) ON COMMIT DROP;
CREATE TEMP TABLE steps (
    partition integer, epoch integer, sequence bigint, type text, reservation_id text,
    buyer_id text,
    clock_ms bigint,    -- the event's time on the partition's clock, which stands still during outages
    deadline_ms bigint  -- the hold's deadline on that clock, extensions up to here included
) ON COMMIT DROP;

-- name: fill_moves
-- Every unit that moved, one row per event and line.
WITH effect (kind, part, adjusted, available, held, sold) AS (VALUES
    ('reserve',   'lines',     0, -1,  1,  0),
    ('confirm',   'lines',     0,  0, -1,  1),
    ('confirm',   'released',  0,  1, -1,  0),
    ('cancel',    'lines',     0,  1, -1,  0),
    ('expire',    'lines',     0,  1, -1,  0),
    ('restock',   'lines',     0,  1,  0, -1),
    ('write_off', 'lines',    -1,  0,  0, -1)
), events AS (
    SELECT partition, epoch, sequence, payload,
           CASE WHEN type <> 'return_units' THEN type
                WHEN (payload ->> 'restock')::boolean THEN 'restock'
                ELSE 'write_off' END AS kind
    FROM ledger_events WHERE sale_id = $1
)
INSERT INTO moves
SELECT e.partition, e.epoch, e.sequence, e.kind, e.payload ->> 'reservation_id',
       e.payload ->> 'buyer_id', line.sku, line.location, 0, f.adjusted * line.quantity,
       f.available * line.quantity, f.held * line.quantity, f.sold * line.quantity
FROM events e
JOIN effect f USING (kind)
CROSS JOIN LATERAL json_to_recordset(e.payload -> f.part)
    AS line (sku text, location text, quantity bigint)
UNION ALL
SELECT e.partition, e.epoch, e.sequence, e.kind, NULL, NULL, account.sku, account.location,
       account.units, 0, account.units, 0, 0
FROM events e
CROSS JOIN LATERAL json_to_recordset(e.payload -> 'accounts')
    AS account (sku text, location text, units bigint)
WHERE e.kind = 'load'
UNION ALL
-- A partition that was lost before the ledger had heard of its load begins with the stock it was
-- opened with.
SELECT c.partition, 1, 0, 'load', NULL, NULL, a.sku, a.location, a.loaded, 0, a.loaded, 0, 0
FROM closed_epochs c
JOIN stock_accounts a USING (sale_id, partition)
WHERE c.sale_id = $1 AND (c.epoch, c.last_sequence) = (1, 0)
UNION ALL
SELECT e.partition, e.epoch, e.sequence, e.kind, NULL, NULL, e.payload ->> 'sku',
       e.payload ->> 'location', 0, (e.payload ->> 'delta')::bigint,
       (e.payload ->> 'delta')::bigint, 0, 0
FROM events e
WHERE e.kind = 'adjust'
UNION ALL
SELECT partition, epoch, sequence, 'import', NULL, NULL, sku, location, loaded, adjusted, available,
       held, sold
FROM ledger_import_accounts WHERE sale_id = $1;

-- name: fill_steps
-- Every event of a reservation, on the partition's clock.
WITH clocked AS (
    SELECT partition, epoch, sequence, type, payload,
           sum(CASE WHEN type IN ('recover', 'rebase') THEN (payload ->> 'shift_ms')::bigint ELSE 0 END)
               OVER (PARTITION BY partition ORDER BY epoch, sequence) AS shift
    FROM ledger_events WHERE sale_id = $1
)
INSERT INTO steps
SELECT partition, epoch, sequence, type, payload ->> 'reservation_id', payload ->> 'buyer_id',
       (payload ->> 'occurred_at')::bigint - shift,
       max((payload ->> 'deadline')::bigint - shift)
           OVER (PARTITION BY payload ->> 'reservation_id' ORDER BY epoch, sequence)
FROM clocked
WHERE type IN ('reserve', 'confirm', 'cancel', 'expire', 'extend', 'return_units');

-- name: reservation_steps
SELECT epoch, sequence, type, reservation_id FROM steps ORDER BY epoch, sequence;

-- name: epochs
SELECT DISTINCT epoch FROM ledger_events WHERE sale_id = $1 ORDER BY epoch;

-- name: stock_moves
-- What each event did to `available`, in the order of the log.
SELECT epoch, sequence, sku, location, sum(available)::bigint AS available
FROM moves GROUP BY epoch, sequence, sku, location ORDER BY epoch, sequence;

-- name: buyer_moves
-- $2: buyers. What each event did to the units they hold or have bought, in the order of the log.
SELECT m.epoch, m.sequence, m.buyer_id, m.sku, sum(m.held + m.sold)::bigint AS units
FROM moves m JOIN sale_items i ON i.sale_id = $1 AND i.sku = m.sku
WHERE m.buyer_id = ANY ($2::text[])
GROUP BY m.epoch, m.sequence, m.buyer_id, m.sku ORDER BY m.epoch, m.sequence;

-- name: location_floors
SELECT sku, location, floor FROM stock_accounts WHERE sale_id = $1;

-- name: rare_events
-- Of a repair the log says what Redis had, not when that began; of an import it says what happened
-- in sum; after a `rebase` deadlines are earlier than they were answered to be.
SELECT count(*) FILTER (WHERE type IN ('repair', 'import')) AS undated,
       count(*) FILTER (WHERE type = 'rebase') AS rebases
FROM ledger_events WHERE sale_id = $1;

-- name: imports
-- Each import, with how many numbers are known by it only. Epochs that were closed in between are
-- counted whole.
SELECT i.partition, i.after_epoch, i.after_sequence, i.epoch, i.sequence,
       (i.sequence - i.after_sequence + coalesce(sum(c.last_sequence), 0))::bigint AS numbers
FROM ledger_imports i
LEFT JOIN closed_epochs c
    ON (c.sale_id, c.partition) = (i.sale_id, i.partition)
   AND c.epoch >= i.after_epoch AND c.epoch < i.epoch
WHERE i.sale_id = $1
GROUP BY i.sale_id, i.partition, i.epoch, i.sequence
ORDER BY i.partition, i.epoch, i.sequence;

-- name: counts
SELECT (SELECT count(*) FROM ledger_events WHERE sale_id = $1) AS events,
       (SELECT count(*) FROM reservations WHERE sale_id = $1) AS reservations,
       (SELECT count(*) FROM steps WHERE type = 'expire') AS expired,
       (SELECT count(*) FROM steps WHERE type = 'confirm') AS confirmed,
       (SELECT count(*) FROM steps WHERE type = 'cancel') AS cancelled;

-- name: accounts
SELECT partition, sku, location, loaded, adjusted, transferred, in_transit, available, held, sold
FROM stock_accounts WHERE sale_id = $1 ORDER BY partition, position;

-- name: items
SELECT sku, per_buyer_limit, floor FROM sale_items WHERE sale_id = $1 ORDER BY position;

-- name: reservation_rows
SELECT reservation_id, state, buyer_id, last_epoch, last_sequence
FROM reservations WHERE sale_id = $1;

-- name: admissions
-- The highest admission each buyer has spent.
SELECT partition, buyer_id, max(admission) AS admission
FROM reservations WHERE sale_id = $1 AND admission IS NOT NULL GROUP BY partition, buyer_id;

-- name: event_fingerprints
SELECT epoch, sequence, fingerprint FROM ledger_events
WHERE sale_id = $1 AND partition = $2 AND epoch = $3 AND sequence >= $4;

-- name: identity_violations
SELECT format('ledger, partition %s %s at %s: loaded %s adjusted %s transferred %s, available %s '
              'held %s sold %s, floor %s', partition, sku, location, loaded, adjusted, transferred,
              available, held, sold, floor)
FROM stock_accounts
WHERE sale_id = $1
  AND (loaded + adjusted + transferred <> available + held + sold OR available < floor
       OR held < 0 OR sold < 0);

-- name: account_floor_violations
-- After every event, not only at the end.
SELECT format('%s-%s of partition %s left %s at %s with %s available, floor %s',
              epoch, sequence, partition, sku, location, after, floor)
FROM (
    SELECT m.partition, m.epoch, m.sequence, m.sku, m.location, a.floor,
           sum(m.available) OVER (PARTITION BY m.partition, m.sku, m.location
                                  ORDER BY m.epoch, m.sequence) AS after
    FROM moves m
    JOIN stock_accounts a ON a.sale_id = $1 AND a.partition = m.partition AND a.sku = m.sku
                         AND a.location = m.location
) running
WHERE after < floor
ORDER BY epoch, sequence LIMIT 1000;

-- name: item_floor_violations
-- The floor of an item holds for the sum over its locations (sales of one partition).
SELECT format('%s-%s left %s with %s available over its locations, floor %s',
              epoch, sequence, sku, after, floor)
FROM (
    SELECT m.epoch, m.sequence, m.sku, i.floor,
           sum(m.available) OVER (PARTITION BY m.sku ORDER BY m.epoch, m.sequence) AS after
    FROM moves m
    JOIN sale_items i ON i.sale_id = $1 AND i.sku = m.sku
    WHERE (SELECT partitions FROM sales WHERE sale_id = $1) = 1
) running
WHERE after < floor
ORDER BY epoch, sequence LIMIT 1000;

-- name: lost_reservation_violations
-- $2: ids that were answered with a 2xx. Each is one row and one reserve event, which may be among the
-- numbers of an import.
SELECT format('%s was answered, the ledger has %s rows and %s reserve events',
              id, coalesce(r.n, 0), coalesce(s.n, 0))
FROM unnest($2::text[]) AS id
LEFT JOIN (SELECT reservation_id, count(*) AS n FROM reservations WHERE sale_id = $1 GROUP BY 1) r
       ON r.reservation_id = id
LEFT JOIN (SELECT reservation_id, count(*) AS n FROM steps WHERE type = 'reserve' GROUP BY 1) s
       ON s.reservation_id = id
LEFT JOIN imported_reservations i ON i.reservation_id = id
WHERE coalesce(r.n, 0) <> 1
   OR coalesce(s.n, 0) <> 1 AND (i.reservation_id IS NULL OR s.n > 1)
LIMIT 1000;

-- name: unasked_reservation_violations
-- $2: ids of all reservations that clients asked for.
SELECT format('%s of buyer %s is in the ledger, no client asked for it', reservation_id, buyer_id)
FROM reservations
WHERE sale_id = $1 AND NOT reservation_id = ANY ($2::text[])
LIMIT 1000;

-- name: answered_state_violations
-- $2: ids, $3: the final state in the answers to their clients.
SELECT format('%s was answered as %s, the ledger has it as %s', a.id, a.state,
              coalesce(r.state, 'nothing'))
FROM unnest($2::text[], $3::text[]) AS a (id, state)
LEFT JOIN reservations r ON r.reservation_id = a.id AND r.sale_id = $1
WHERE r.state IS DISTINCT FROM a.state
LIMIT 1000;

-- name: row_without_event_violations
SELECT format('%s: %s', coalesce(r.reservation_id, s.reservation_id),
              CASE WHEN s.reservation_id IS NULL THEN 'a row without a reserve event'
                   ELSE 'a reserve event without a row' END)
FROM (SELECT reservation_id FROM reservations WHERE sale_id = $1) r
FULL JOIN (SELECT DISTINCT reservation_id FROM steps WHERE type = 'reserve') s
    ON s.reservation_id = r.reservation_id
LEFT JOIN imported_reservations i ON i.reservation_id = r.reservation_id
WHERE r.reservation_id IS NULL OR s.reservation_id IS NULL AND i.reservation_id IS NULL
LIMIT 1000;

-- name: reserved_twice_violations
SELECT format('%s was accepted %s times', reservation_id, count(*))
FROM steps WHERE type = 'reserve'
GROUP BY reservation_id HAVING count(*) > 1
LIMIT 1000;

-- name: limit_now_violations
SELECT format('buyer %s holds or owns %s of %s, limit %s', r.buyer_id,
              sum(CASE r.state WHEN 'held' THEN l.quantity ELSE l.confirmed - l.returned END),
              l.sku, i.per_buyer_limit)
FROM reservations r
JOIN order_lines l USING (sale_id, reservation_id, block)
JOIN sale_items i ON i.sale_id = r.sale_id AND i.sku = l.sku
WHERE r.sale_id = $1 AND r.state IN ('held', 'confirmed')
GROUP BY r.buyer_id, l.sku, i.per_buyer_limit
HAVING sum(CASE r.state WHEN 'held' THEN l.quantity ELSE l.confirmed - l.returned END)
       > i.per_buyer_limit
LIMIT 1000;

-- name: limit_ever_violations
-- After every event, not only at the end.
SELECT format('buyer %s had %s of %s after %s-%s, limit %s',
              buyer_id, after, sku, epoch, sequence, per_buyer_limit)
FROM (
    SELECT m.buyer_id, m.sku, m.epoch, m.sequence, i.per_buyer_limit,
           sum(m.held + m.sold) OVER (PARTITION BY m.partition, m.buyer_id, m.sku
                                      ORDER BY m.epoch, m.sequence) AS after
    FROM moves m
    JOIN sale_items i ON i.sale_id = $1 AND i.sku = m.sku
    WHERE m.buyer_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM imported_reservations i WHERE i.reservation_id = m.reservation_id)
) running
WHERE after > per_buyer_limit
ORDER BY epoch, sequence LIMIT 1000;

-- name: unadmitted_violations
-- Each reservation of a sale with a waiting room has spent an admission, the number in its row.
SELECT format('%s of buyer %s spent admission %s, its row says %s', e.payload ->> 'reservation_id',
              e.payload ->> 'buyer_id', coalesce(e.payload ->> 'admission', 'none'),
              coalesce(r.admission::text, 'none'))
FROM ledger_events e
LEFT JOIN reservations r
    ON (r.reservation_id, r.block) = (e.payload ->> 'reservation_id', e.block)
WHERE e.sale_id = $1 AND e.type = 'reserve'
  AND (e.payload ->> 'admission' IS NULL
       OR (e.payload ->> 'admission')::bigint IS DISTINCT FROM r.admission)
ORDER BY e.epoch, e.sequence LIMIT 1000;

-- name: admission_spent_twice_violations
-- A buyer's admission numbers only grow: a number that is not above all earlier ones was spent.
SELECT format('buyer %s spent admission %s after %s', buyer_id, admission, before)
FROM (
    SELECT epoch, sequence, payload ->> 'buyer_id' AS buyer_id,
           (payload ->> 'admission')::bigint AS admission,
           max((payload ->> 'admission')::bigint) OVER (
               PARTITION BY partition, payload ->> 'buyer_id' ORDER BY epoch, sequence
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM ledger_events WHERE sale_id = $1 AND type = 'reserve'
) spent
WHERE admission <= before
ORDER BY epoch, sequence LIMIT 1000;

-- name: resolved_twice_violations
SELECT format('%s was resolved %s times: %s', reservation_id, count(*),
              string_agg(type, ', ' ORDER BY epoch, sequence))
FROM steps WHERE type IN ('confirm', 'cancel', 'expire')
GROUP BY reservation_id HAVING count(*) > 1
LIMIT 1000;

-- name: returned_twice_violations
-- No line ever gives back more than it holds, or sells back more than it bought.
SELECT format('%s-%s took %s of %s at %s from %s below zero', epoch, sequence, kind, sku, location,
              reservation_id)
FROM (
    SELECT epoch, sequence, kind, sku, location, reservation_id,
           sum(held) OVER line AS held_after, sum(sold) OVER line AS sold_after
    FROM moves m WHERE reservation_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM imported_reservations i WHERE i.reservation_id = m.reservation_id)
    WINDOW line AS (PARTITION BY reservation_id, sku, location ORDER BY epoch, sequence)
) running
WHERE held_after < 0 OR sold_after < 0
LIMIT 1000;

-- name: deadline_violations
-- Confirm, cancel and extend only before the deadline, expire only at or after it.
SELECT format('%s of %s %s ms %s its deadline', type, reservation_id, abs(clock_ms - deadline_ms),
              CASE WHEN type = 'expire' THEN 'before' ELSE 'after' END)
FROM (
    SELECT type, reservation_id, clock_ms,
           CASE WHEN type = 'extend'
                THEN lag(deadline_ms) OVER (PARTITION BY reservation_id ORDER BY epoch, sequence)
                ELSE deadline_ms END AS deadline_ms
    FROM steps
) step
WHERE ((type IN ('confirm', 'cancel', 'extend') AND clock_ms >= deadline_ms)
    OR (type = 'expire' AND clock_ms < deadline_ms)
    OR (type IN ('confirm', 'cancel', 'extend', 'expire') AND deadline_ms IS NULL))
  AND NOT EXISTS (SELECT FROM imported_reservations i WHERE i.reservation_id = step.reservation_id)
LIMIT 1000;

-- name: answered_deadline_violations
-- $2: ids, $3: `expires_at` in answers about them. Each is a deadline that some event of the
-- reservation has set, moved by the shifts of later recoveries.
WITH shifts AS (
    SELECT DISTINCT sum((payload ->> 'shift_ms')::bigint) OVER (ORDER BY epoch, sequence) AS shift
    FROM ledger_events WHERE sale_id = $1 AND type IN ('recover', 'rebase')
    UNION SELECT 0
), answered AS (
    SELECT id, expires_at, round(extract(epoch FROM expires_at::timestamptz) * 1000)::bigint AS ms
    FROM unnest($2::text[], $3::text[]) AS a (id, expires_at)
), borne_out AS (
    SELECT DISTINCT s.reservation_id AS id, s.deadline_ms + h.shift AS ms
    FROM steps s CROSS JOIN shifts h
)
SELECT format('%s was answered to end at %s, which no event bears out', a.id, a.expires_at)
FROM answered a
LEFT JOIN borne_out b ON (b.id, b.ms) = (a.id, a.ms)
WHERE b.id IS NULL AND EXISTS (SELECT FROM steps s WHERE s.reservation_id = a.id)
    AND NOT EXISTS (SELECT FROM imported_reservations i WHERE i.reservation_id = a.id)
LIMIT 1000;

-- name: gap_violations
SELECT format('partition %s epoch %s: %s follows %s', partition, epoch, sequence, previous)
FROM (
    SELECT partition, epoch, sequence,
           lag(sequence, 1, 0::bigint) OVER (PARTITION BY partition, epoch ORDER BY sequence)
               AS previous
    FROM ledger_events WHERE sale_id = $1
) numbered
WHERE sequence <> previous + 1
  AND NOT EXISTS (
      SELECT FROM ledger_imports i
      WHERE i.sale_id = $1 AND i.partition = numbered.partition
        AND (i.after_epoch, i.after_sequence) <= (numbered.epoch, numbered.previous)
        AND (i.epoch, i.sequence) > (numbered.epoch, numbered.sequence - 1))
LIMIT 1000;

-- name: epoch_end_violations
-- An epoch ends where it was closed, the last one at the watermark; or within the numbers of an import.
SELECT format('partition %s epoch %s ends at %s, expected %s', partition, epoch,
              coalesce(last::text, 'nothing'), coalesce(expected::text, 'no such epoch'))
FROM (
    SELECT partition, epoch, ends.last, expected.last AS expected
    FROM (SELECT partition, epoch, max(sequence) AS last FROM ledger_events
          WHERE sale_id = $1 GROUP BY 1, 2) ends
    FULL JOIN (
        SELECT partition, epoch, last_sequence AS last FROM closed_epochs
        WHERE sale_id = $1 AND last_sequence > 0
        UNION
        SELECT partition, epoch, sequence FROM watermarks WHERE sale_id = $1 AND sequence > 0
    ) expected USING (partition, epoch)
) ending
WHERE last IS DISTINCT FROM expected
  AND NOT EXISTS (
      SELECT FROM ledger_imports i
      WHERE i.sale_id = $1 AND i.partition = ending.partition
        AND coalesce(ending.last, 0) < ending.expected
        AND (i.after_epoch, i.after_sequence) <= (ending.epoch, coalesce(ending.last, 0))
        AND (i.epoch, i.sequence) > (ending.epoch, ending.expected))
LIMIT 1000;

-- name: epoch_start_violations
-- The first event of a later epoch continues exactly where the epoch before was closed.
SELECT format('partition %s epoch %s begins with %s, which does not continue a closed epoch',
              e.partition, e.epoch, e.type)
FROM ledger_events e
WHERE e.sale_id = $1 AND e.sequence = 1 AND e.epoch > 1 AND e.type <> 'import'
  AND (e.type <> 'recover' OR NOT EXISTS (
        SELECT FROM closed_epochs c
        WHERE c.sale_id = e.sale_id AND c.partition = e.partition
          AND c.epoch = (e.payload #>> '{previous,epoch}')::integer
          AND c.last_sequence = (e.payload #>> '{previous,sequence}')::bigint
          AND c.epoch = coalesce((SELECT max(p.epoch) FROM ledger_events p
                                  WHERE p.sale_id = e.sale_id AND p.partition = e.partition
                                    AND p.epoch < e.epoch), 1)))
LIMIT 1000;

-- name: void_violations
-- The effect of a void number before an import came along with it.
SELECT format('partition %s: %s-%s is void, its event waits in the dead letters',
              partition, epoch, sequence)
FROM ledger_events e WHERE sale_id = $1 AND type = 'void'
  AND NOT EXISTS (
      SELECT FROM ledger_imports i
      WHERE i.sale_id = $1 AND i.partition = e.partition
        AND (i.epoch, i.sequence) > (e.epoch, e.sequence))
LIMIT 1000;

-- name: account_fold_violations
SELECT format('partition %s %s at %s: events fold to %s, the account says %s',
              partition, sku, location, f.counters, a.counters)
FROM (
    SELECT partition, sku, location,
           ARRAY[sum(loaded), sum(adjusted), sum(available), sum(held), sum(sold)]::bigint[]
               AS counters
    FROM moves GROUP BY 1, 2, 3
) f
FULL JOIN (
    SELECT partition, sku, location, ARRAY[loaded, adjusted, available, held, sold] AS counters
    FROM stock_accounts WHERE sale_id = $1
) a USING (partition, sku, location)
WHERE f.counters IS DISTINCT FROM a.counters
LIMIT 1000;

-- name: reservation_fold_violations
SELECT format('%s: events fold to %s (buyer %s), the row says %s (buyer %s)', reservation_id,
              f.state, f.buyer_id, r.state, r.buyer_id)
FROM (
    SELECT reservation_id, min(buyer_id) AS buyer_id,
           CASE (array_agg(type ORDER BY epoch, sequence)
                 FILTER (WHERE type IN ('confirm', 'cancel', 'expire')))[1]
               WHEN 'confirm' THEN 'confirmed' WHEN 'cancel' THEN 'cancelled'
               WHEN 'expire' THEN 'expired' ELSE 'held' END AS state
    FROM steps GROUP BY 1
) f
JOIN (SELECT reservation_id, state, buyer_id FROM reservations WHERE sale_id = $1) r
    USING (reservation_id)
WHERE (f.state, f.buyer_id) IS DISTINCT FROM (r.state, r.buyer_id)
  AND NOT EXISTS (SELECT FROM imported_reservations i WHERE i.reservation_id = f.reservation_id)
LIMIT 1000;

-- name: line_fold_violations
SELECT format('%s %s at %s: events fold to %s reserved, confirmed, returned; the line says %s',
              reservation_id, sku, location, f.units, l.units)
FROM (
    SELECT reservation_id, sku, location,
           ARRAY[sum(held) FILTER (WHERE kind = 'reserve'),
                 coalesce(sum(sold) FILTER (WHERE kind = 'confirm'), 0),
                 coalesce(-sum(sold) FILTER (WHERE kind IN ('restock', 'write_off')), 0)]::bigint[]
               AS units
    FROM moves WHERE reservation_id IS NOT NULL GROUP BY 1, 2, 3
) f
FULL JOIN (
    SELECT o.reservation_id, o.sku, o.location,
           ARRAY[o.quantity, o.confirmed, o.returned]::bigint[] AS units
    FROM order_lines o WHERE o.sale_id = $1
) l USING (reservation_id, sku, location)
WHERE f.units IS DISTINCT FROM l.units
  AND NOT EXISTS (SELECT FROM imported_reservations i
                  WHERE i.reservation_id = coalesce(f.reservation_id, l.reservation_id))
LIMIT 1000;

-- name: order_event_violations
-- Each order's history names each of its events once.
SELECT format('%s: %s-%s is missing from %s', coalesce(s.reservation_id, o.reservation_id),
              coalesce(s.epoch, o.epoch), coalesce(s.sequence, o.sequence),
              CASE WHEN o.reservation_id IS NULL THEN 'the order''s history' ELSE 'the log' END)
FROM steps s
FULL JOIN (
    SELECT e.reservation_id, e.epoch, e.sequence
    FROM order_events e WHERE e.sale_id = $1
) o ON (o.reservation_id, o.epoch, o.sequence) = (s.reservation_id, s.epoch, s.sequence)
WHERE o.reservation_id IS NULL OR s.reservation_id IS NULL
LIMIT 1000;

-- name: foreign_owner_violations
-- $2: ids, $3: the buyers they were shown to.
SELECT format('%s of buyer %s was shown to buyer %s', a.id, r.buyer_id, a.buyer_id)
FROM unnest($2::text[], $3::text[]) AS a (id, buyer_id)
JOIN reservations r ON r.reservation_id = a.id AND r.sale_id = $1
WHERE r.buyer_id <> a.buyer_id
LIMIT 1000;

-- name: effect_of_refusal_violations
-- $2: ids of reservations whose reserve was refused every time.
SELECT format('%s of buyer %s was refused every time, and is in the ledger', reservation_id,
              buyer_id)
FROM reservations WHERE sale_id = $1 AND reservation_id = ANY ($2::text[])
LIMIT 1000;

-- name: dead_letter_violations
SELECT format('dead letter %s (%s): %s', dead_letter_id, reason, error)
FROM dead_letters WHERE sale_id = $1 AND status IN ('dead', 'replay_requested')
LIMIT 1000;

-- name: release_lag
-- From a hold's deadline to its expire event, on Redis' clock.
SELECT count(*) AS released,
       coalesce(percentile_disc(0.99) WITHIN GROUP (ORDER BY clock_ms - deadline_ms), 0) AS p99_ms,
       coalesce(max(clock_ms - deadline_ms), 0) AS max_ms
FROM steps
WHERE type = 'expire'
  AND NOT EXISTS (SELECT FROM imported_reservations i WHERE i.reservation_id = steps.reservation_id);

-- name: reserve_times
-- When each reservation was accepted, in the order of the log.
SELECT partition, epoch, sequence, (payload ->> 'occurred_at')::bigint AS occurred_at_ms
FROM ledger_events WHERE sale_id = $1 AND type = 'reserve'
ORDER BY partition, epoch, sequence;

-- name: watermark_now
-- One reading of the lag sampler: the position of the ledger, and the time of the reading.
SELECT partition, epoch, sequence,
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS seen_at_ms
FROM watermarks WHERE sale_id = $1;
