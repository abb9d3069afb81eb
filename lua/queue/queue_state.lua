-- queue_state: what a worker needs to answer for a room until its next read.
-- Guarantees: writes nothing; the reply's size does not depend on how many buyers wait, and after
--         the caller's first look not on how many were called.
-- KEYS    1 meta  2 gone  3 revoked  4 ended
-- ARGV    1 run_id  2 the revision the caller has, -1 for none  3 the ended places and 4 the last
--         place called that the caller knows, -1 for none
-- RETURNS MessagePack {"ok", {state (include/room_state.lua), {revoked digest in hex, ...} only
--         when the room's revision is another}}
-- @include arguments
-- @include room_state

local known, serving = tonumber(ARGV[3] or ''), tonumber(ARGV[4] or '')
if #KEYS ~= 4 or not tonumber(ARGV[2] or '') or not known or not serving then
  return malformed('call')
end
local room, refusal = open_room(KEYS, ARGV[1])
if not room then return refusal end
local state = room_state(KEYS[2], KEYS[4], room, known, serving)
if tonumber(ARGV[2]) == room.revision then return reply_room({state}) end
local revoked = redis.call('HKEYS', KEYS[3])
for i, digest in ipairs(revoked) do revoked[i] = digest:gsub('.', HEX) end
return reply_room({state, revoked})
