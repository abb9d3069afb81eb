-- name: hold_sale
-- Settling it waits until the room is made, and then removes the room's keys.
SELECT FROM sales WHERE sale_id = $1 AND state <> 'settled' FOR SHARE

-- name: make_room
-- The room of a sale, with the seed of its draw; who comes second waits here for the first.
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
-- Never back: of two workers the one that was further stays.
UPDATE waiting_rooms
SET issued = greatest(issued, $2), serving = greatest(serving, $3), lapsed = greatest(lapsed, $4),
    checkpointed_at = now()
WHERE sale_id = $1

-- name: note_draw
-- Held once: the first count stays.
UPDATE waiting_rooms SET drawn = coalesce(drawn, $2), drawn_at = coalesce(drawn_at, now())
WHERE sale_id = $1 RETURNING drawn

-- name: note_control
UPDATE waiting_rooms SET mode = $2, rate_limit = $3 WHERE sale_id = $1

-- name: note_revoked
INSERT INTO waiting_room_revocations (sale_id, buyer_id) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: revoked
SELECT buyer_id FROM waiting_room_revocations WHERE sale_id = $1
