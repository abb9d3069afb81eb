-- The last step of a settlement: the keys go, or the settlement is taken back.

-- name: lock_settlement
-- Locks the settlement; whoever removes the same sale's keys waits here. No row: the sale is not settled.
SELECT jsonb_typeof(s.spec -> 'waiting_room') IS NOT DISTINCT FROM 'object' AS has_room
FROM settlements t JOIN sales s USING (sale_id)
WHERE t.sale_id = $1 AND s.state = 'settled'
FOR UPDATE OF t

-- name: positions_of_sale
SELECT partition, epoch, sequence FROM watermarks WHERE sale_id = $1 ORDER BY partition

-- name: note_removal
-- From here on the settlement is final.
INSERT INTO settlement_removals (sale_id) VALUES ($1) ON CONFLICT DO NOTHING

-- name: unsettle_sale
-- Undoes a settlement because an event came in between: the sale is closed again, its accounting
-- gone.
WITH told AS (SELECT pg_notify('dropgate_sales', $1)),
     undone AS (DELETE FROM settlements WHERE sale_id = $1)
UPDATE sales SET state = 'closed', version = version + 1, updated_at = now()
FROM told WHERE sale_id = $1 AND state = 'settled'
RETURNING version
