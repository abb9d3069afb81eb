-- Bit operations on `gone`, the bitmap of places that are gone; whole bytes where possible.
local BLOCKS_MOST = 256
local BLOCK_LEAST = 4096 -- places; a multiple of 8

local function gone_bit(gone, place)
  return redis.call('GETBIT', gone, string.format('%.0f', place))
end

-- The number of gone places in first..last.
local function count_gone(gone, first, last)
  local counted = 0
  while first <= last and first % 8 ~= 0 do
    counted = counted + gone_bit(gone, first)
    first = first + 1
  end
  while first <= last and (last + 1) % 8 ~= 0 do
    counted = counted + gone_bit(gone, last)
    last = last - 1
  end
  if first > last then return counted end
  return counted + redis.call('BITCOUNT', gone, string.format('%.0f', first / 8),
    string.format('%.0f', (last + 1) / 8 - 1))
end

-- The first place at or after `place` that is not gone.
local function next_present(gone, place)
  while place % 8 ~= 0 do
    if gone_bit(gone, place) == 0 then return place end
    place = place + 1
  end
  local found = redis.call('BITPOS', gone, 0, string.format('%.0f', place / 8))
  return math.max(found, place) -- beyond the end of the bitmap no place is gone
end

-- Appends places that were given up or used to `ended`, a list with its newest entries; field
-- `ended` of meta is the number of all places ever appended. Looks of workers read what is new to
-- them (room_state.lua).
local ENDED_MOST = 65536

local function note_ended(room, ended, places)
  if #places == 0 then return end
  for from = 1, #places, 1000 do
    redis.call('RPUSH', ended, unpack(places, from, math.min(from + 999, #places)))
  end
  redis.call('LTRIM', ended, -ENDED_MOST, -1)
  redis.call('HINCRBY', room.keys[1], 'ended', #places)
end

local function set_gone(gone, place)
  redis.call('SETBIT', gone, string.format('%.0f', place), 1)
end

-- Marks every place in first..last as gone.
local function set_all_gone(gone, first, last)
  while first <= last and first % 8 ~= 0 do
    set_gone(gone, first)
    first = first + 1
  end
  while first <= last and (last + 1) % 8 ~= 0 do
    set_gone(gone, last)
    last = last - 1
  end
  if first <= last then
    redis.call('SETRANGE', gone, string.format('%.0f', first / 8),
      string.rep('\255', (last + 1 - first) / 8))
  end
end

local function count_active(gone, room)
  return room.serving - room.lapsed - count_gone(gone, room.lapsed + 1, room.serving)
end

-- {first place, places per block, {gone places in each block}}: with these counts a worker computes
-- how many buyers are ahead of a place without asking Redis.
local function gone_blocks(gone, room)
  local first = room.serving + 1
  local size = math.max(BLOCK_LEAST, math.ceil((room.issued - room.serving) / BLOCKS_MOST / 8) * 8)
  local counts = {}
  for from = first, room.issued, size do
    counts[#counts + 1] = count_gone(gone, from, math.min(from + size - 1, room.issued))
  end
  return cmsgpack.pack({first, size, counts})
end
