-- read: returns reservations by token, in their current state; a hold that is due takes the edge
-- `expire` first.
-- Guarantees: what is returned as expired has its event; writes nothing else.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack {token, ...}
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {reservation or false, ...}}
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include stock
-- @include reservation
-- @include expiry

local MOST_TOKENS = 1000

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local tokens = unpacked(ARGV[3] or '')
if not tokens or #tokens == 0 or #tokens > MOST_TOKENS then return malformed('tokens') end
for _, token in ipairs(tokens) do
  if not is_token(token) then return malformed('token') end
end
local found = {}
for i, token in ipairs(tokens) do
  local record = record_of(partition, token)
  if record then expire_if_due(partition, token, record) end
  found[i] = record and view(partition, token, record) or false
end
flush(partition)
return reply(partition, found)
