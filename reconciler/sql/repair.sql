-- What single reservations are repaired from.

-- name: repair_records
-- The columns of `rebuild_records`, for the reservations named, each with the keys of its returns and
-- its extensions; of a reservation that was imported, the keys that its record had, and those of later
-- calls. Each reservation's lines are looked up alone: a join of the two tables reads the
-- whole sale's lines.
WITH lines AS (
    SELECT l.reservation_id, array_agg(a.position ORDER BY a.position) AS accounts,
        array_agg(l.quantity ORDER BY a.position) AS quantities,
        array_agg(l.confirmed ORDER BY a.position) AS confirmed,
        array_agg(l.returned ORDER BY a.position) AS returned
    FROM reservations r
    CROSS JOIN LATERAL (
        SELECT o.* FROM order_lines o
        WHERE (o.sale_id, o.reservation_id, o.block) = (r.sale_id, r.reservation_id, r.block)
            AND o.block = ANY(blocks_of($1::text[]))
        OFFSET 0
    ) l
    JOIN stock_accounts a ON (a.sale_id, a.partition, a.sku, a.location)
        = (r.sale_id, r.partition, l.sku, l.location)
    WHERE r.reservation_id = ANY($1::text[]) AND r.block = ANY(blocks_of($1::text[]))
    GROUP BY l.reservation_id
)
SELECT r.reservation_id, r.state, r.last_epoch, r.last_sequence, r.accepted_epoch,
    r.accepted_sequence, (extract(epoch FROM r.deadline) * 1000)::bigint AS deadline_ms,
    r.extended_ms, r.buyer_id, r.fingerprint, r.payment_reference, lines.accounts,
    lines.quantities, lines.confirmed, lines.returned,
    coalesce(m.return_keys, '{}') || array(
        SELECT (e.payload ->> 'return_key') || ':' || (e.payload ->> 'fingerprint')
        FROM ledger_events e
        WHERE (e.reservation_id, e.block) = (r.reservation_id, r.block)
            AND e.block = ANY(blocks_of($1::text[])) AND e.type = 'return_units'
            AND (m.return_keys IS NULL OR (e.payload ->> 'return_key') || ':'
                || (e.payload ->> 'fingerprint') <> ALL(m.return_keys))
        ORDER BY e.epoch, e.sequence) AS return_keys,
    coalesce(m.extend_keys, '{}') || array(
        SELECT (e.payload ->> 'extend_key') || ':' || (e.payload ->> 'asked_ms')
        FROM ledger_events e
        WHERE (e.reservation_id, e.block) = (r.reservation_id, r.block)
            AND e.block = ANY(blocks_of($1::text[])) AND e.type = 'extend'
            AND e.payload ->> 'extend_key' IS NOT NULL
            AND (m.extend_keys IS NULL OR (e.payload ->> 'extend_key') || ':'
                || (e.payload ->> 'asked_ms') <> ALL(m.extend_keys))
        ORDER BY e.epoch, e.sequence) AS extend_keys
FROM reservations r JOIN lines USING (reservation_id)
LEFT JOIN imported_reservations m USING (reservation_id)
WHERE r.reservation_id = ANY($1::text[])
    AND r.block = ANY(blocks_of($1::text[]))
