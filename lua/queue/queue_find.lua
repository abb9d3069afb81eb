-- queue_find: reads a buyer's number.
-- Guarantees: writes nothing.
-- KEYS    1 meta  2 gone  3 the buyer's bucket
-- ARGV    1 run_id  2 digest of the buyer
-- RETURNS MessagePack {"ok", number or 0}
-- @include arguments
-- @include room

if #KEYS ~= 3 or #(ARGV[2] or '') ~= 8 then return malformed('call') end
local room, refusal = open_room(KEYS, ARGV[1])
if not room then return refusal end
return reply_room(tonumber(redis.call('HGET', KEYS[3], ARGV[2]) or '0'))
