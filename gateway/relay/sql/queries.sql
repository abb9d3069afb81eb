-- name: partitions
-- Every partition whose events still have to reach the log. Each sale's partitions are looked up alone: a
-- join would read the watermarks of all sales there ever were.
SELECT w.sale_id, w.partition
FROM sales s CROSS JOIN LATERAL (
    SELECT * FROM watermarks WHERE sale_id = s.sale_id OFFSET 0
) w
WHERE s.state <> 'settled'
ORDER BY w.sale_id, w.partition

-- name: unannounced_settlement
-- The oldest final settlement that is not in the event log yet, and the event that announces it: made of
-- the audit row ($1: its action) that was written with the settlement. A settlement is final once the
-- keys are gone; until then it may be taken back.
SELECT s.sale_id,
       jsonb_build_object('v', 1, 'type', 'settle', 'sale_id', s.sale_id,
                          'accounting', a.detail -> 'accounting')::text AS event
FROM sales s
JOIN settlements t USING (sale_id)
JOIN LATERAL (
    SELECT detail FROM audit_log
    WHERE sale_id = t.sale_id AND action = $1
    ORDER BY audit_id DESC LIMIT 1
) a ON true
WHERE s.state = 'settled' AND s.keys_removed AND NOT s.announced
ORDER BY t.settled_at
LIMIT 1
FOR UPDATE OF t SKIP LOCKED

-- name: note_announcement
INSERT INTO settlement_announcements (sale_id) VALUES ($1)
