-- queue_leave: a buyer gives up the place, or an operator takes it away.
-- Guarantees: the place needs no slot from now on; a slot it had is free at once. A revoked buyer
-- stays revoked.
-- KEYS    1 meta  2 gone  3 the buyer's bucket  4 revoked  5 ended
-- ARGV    1 run_id  2 `drawn` of the room, as the caller knows it  3 digest of the buyer
--         4 number  5 the number's place (before a draw the number itself); both 0 without a number
--         6 "leave" or "revoke"
-- RETURNS MessagePack {"ok", "left" | "revoked" | "unknown" | "too_many"} or {"moved", drawn}
-- @include arguments
-- @include room
-- @include places
local REVOKED_MOST = 1000

local number, place = natural(ARGV[4]), natural(ARGV[5])
if #KEYS ~= 5 or #(ARGV[3] or '') ~= 8 or not is_integer(number, 0, LATEST)
   or not is_integer(place, 0, LATEST) or (ARGV[6] ~= 'leave' and ARGV[6] ~= 'revoke') then
  return malformed('call')
end
local room, refusal = open_room(KEYS, ARGV[1])
if not room then return refusal end
if tonumber(ARGV[2]) ~= room.drawn or room.placed == 0 then
  return cmsgpack.pack({'moved', room.drawn})
end
local has = number > 0
  and tonumber(redis.call('HGET', KEYS[3], ARGV[3]) or nil) == number and place <= room.issued
local revoke = ARGV[6] == 'revoke'
if revoke and redis.call('HLEN', KEYS[4]) >= REVOKED_MOST then return reply_room('too_many') end
if not has and not revoke then return reply_room('unknown') end
set_room(room, 'revision', room.revision + 1)
flush_room(room)
if revoke then redis.call('HSET', KEYS[4], ARGV[3], '1') end
if has then
  redis.call('HDEL', KEYS[3], ARGV[3])
  set_gone(KEYS[2], place)
  if place <= room.serving then note_ended(room, KEYS[5], {string.format('%.0f', place)}) end
end
return reply_room(revoke and 'revoked' or 'left')
