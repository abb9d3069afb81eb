-- queue_state: what a worker needs to answer for a room until its next read.
-- Guarantees: writes nothing; the reply's size does not depend on how many buyers wait.
-- KEYS    1 meta  2 gone  3 revoked
-- ARGV    1 run_id  2 the revision the caller has, -1 for none
-- RETURNS MessagePack {"ok", {state (include/room_state.lua), {revoked digest in hex, ...} only
--         when the room's revision is another}}
-- @include arguments
-- @include room_state

if #KEYS ~= 3 or not tonumber(ARGV[2] or '') then return malformed('call') end
local room, refusal = open_room(KEYS, ARGV[1])
if not room then return refusal end
if tonumber(ARGV[2]) == room.revision then return reply_room({room_state(KEYS[2], room)}) end
local revoked = redis.call('HKEYS', KEYS[3])
for i, digest in ipairs(revoked) do revoked[i] = digest:gsub('.', HEX) end
return reply_room({room_state(KEYS[2], room), revoked})
