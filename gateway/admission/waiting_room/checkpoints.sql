-- name: hold_sale
-- Locks a sale that is not settled; settling then waits until the room is made, and removes its
-- keys.
SELECT FROM sales WHERE sale_id = $1 AND state <> 'settled' FOR SHARE

-- name: make_room
-- Makes the room of a sale, with the seed of its draw; a second worker waits here for the first.
INSERT INTO waiting_rooms (sale_id, seed, commitment) VALUES ($1, $2, sha256($2))
ON CONFLICT (sale_id) DO NOTHING

-- name: lock_room
SELECT seed, made, issued, serving, lapsed, drawn, drawn_at, mode, rate_limit
FROM waiting_rooms WHERE sale_id = $1 FOR UPDATE

-- name: note_made
UPDATE waiting_rooms SET made = true WHERE sale_id = $1 AND NOT made

-- name: room
SELECT seed, made, issued, serving, lapsed, drawn, drawn_at, mode, rate_limit
FROM waiting_rooms WHERE sale_id = $1

-- name: checkpoint
-- Writes a checkpoint that never goes back: of two workers' numbers the higher ones stay.
UPDATE waiting_rooms
SET issued = greatest(issued, $2), serving = greatest(serving, $3), lapsed = greatest(lapsed, $4),
    checkpointed_at = now()
WHERE sale_id = $1

-- name: note_draw
-- Stores the draw's count; the draw is held once, so the first count stays.
UPDATE waiting_rooms SET drawn = coalesce(drawn, $2), drawn_at = coalesce(drawn_at, now())
WHERE sale_id = $1 RETURNING drawn

-- name: note_control
UPDATE waiting_rooms SET mode = $2, rate_limit = $3 WHERE sale_id = $1

-- name: note_revoked
INSERT INTO waiting_room_revocations (sale_id, buyer_id) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: revoked
SELECT buyer_id FROM waiting_room_revocations WHERE sale_id = $1
