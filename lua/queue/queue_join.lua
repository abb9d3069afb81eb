-- queue_join: returns the number of each buyer of a batch, and gives a new number where a buyer has
-- none.
-- Guarantees: a buyer who waits keeps the number, however often and from wherever it is asked for;
-- numbers are given out once, in order, without a hole. A place that was given up, or whose slot
-- has ended, is exchanged for a new number at the end, if its holder asks for that.
-- KEYS    1 meta  2 gone  3.. buckets of buyers
-- ARGV    1 run_id  2 `drawn` of the room, as the caller knows it
--         3 digests of the buyers, 8 bytes each
--         4 MessagePack {bucket (number of the key), number, place, renew, ...}, four values per
--           buyer: number and place of the ticket shown, 0 without a ticket; renew: true to
--           exchange an ended place
-- RETURNS MessagePack {"ok", {number or 0 where the ledger must catch up first, ...}} or
--         {"moved", drawn}
-- @include arguments
-- @include room
-- @include places
local DIGEST = 8

local buyers = unpacked(ARGV[4] or '')
local digests = ARGV[3] or ''
if not buyers or #buyers == 0 or #buyers % 4 ~= 0 or #buyers > 4 * 1000
   or #digests ~= #buyers / 4 * DIGEST then
  return malformed('batch')
end
for i = 1, #buyers, 4 do
  if not (is_integer(buyers[i], 3, #KEYS) and is_integer(buyers[i + 1], 0, LATEST)
          and is_integer(buyers[i + 2], 0, LATEST)) then
    return malformed('buyer')
  end
end
local room, refusal = open_room(KEYS, ARGV[1])
if not room then return refusal end
if tonumber(ARGV[2]) ~= room.drawn then return cmsgpack.pack({'moved', room.drawn}) end

local known, numbers, writes, returned = {}, {}, {}, {}
local issued = room.issued

local function has_ended(place)
  if place > room.serving then return false end
  if place <= room.lapsed or gone_bit(KEYS[2], place) == 1 then return true end
  for _, wave in ipairs(cmsgpack.unpack(room.waves)) do
    if place <= wave[1] then return wave[2] <= room.now and room.mode ~= 'queue_all' end
  end
  return true
end

local function number_for(had, number, place, renew)
  if had and renew and had == number and has_ended(place) then
    had = nil
  elseif number > 0 and number <= room.lost and place > room.lapsed
         and (had or number) == number then
    -- After a loss of data the ticket is the only record of the number, and it is trusted.
    if room.placed == 0 then return nil end
    if place > room.serving then returned[#returned + 1] = place end
    return number
  end
  if had then return had end
  if issued - room.checkpointed >= MARGIN then return nil end
  issued = issued + 1
  return issued
end

for i = 1, #buyers, 4 do
  local index = (i - 1) / 4
  local field = digests:sub(index * DIGEST + 1, (index + 1) * DIGEST)
  local key = KEYS[buyers[i]]
  local name = key .. field
  local had = known[name] or tonumber(redis.call('HGET', key, field) or nil)
  local number = number_for(had, buyers[i + 1], buyers[i + 2], buyers[i + 3])
  if number and number ~= had then writes[#writes + 1] = {key, field, number} end
  known[name] = number
  numbers[index + 1] = number or 0
end

if #writes + #returned > 0 then
  if issued > room.issued then set_room(room, 'issued', issued) end
  flush_room(room)
  for _, write in ipairs(writes) do
    redis.call('HSET', write[1], write[2], string.format('%.0f', write[3]))
  end
  for _, place in ipairs(returned) do
    redis.call('SETBIT', KEYS[2], string.format('%.0f', place), 0)
  end
end
return reply_room(numbers)
