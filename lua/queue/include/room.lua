-- A waiting room as a unit of work. All keys of a room have the hash tag {sale:q}, so no script
-- touches a room and a partition at once.
--
-- Everybody who joins gets the next number. A place in line is the number itself; for buyers in a
-- draw it comes from a permutation of the numbers, which the gateways know and Redis does not.
-- Places up to `serving` have been called; the slots of places up to `lapsed` have ended. A set bit
-- of `gone` is a place that needs no slot: its buyer left, was revoked or used the admission, or
-- did not claim the place again after a loss of data.
--
-- Keys: meta (hash), gone (bitmap by place; by number until a draw), revoked (hash by buyer
-- digest), and small hashes of buyer digest to number. Only meta always exists; without it the room
-- is lost.
local MARGIN = 1000000 -- most numbers given out beyond the ledger's checkpoint; a loss skips them
local WAVES_PER_SLOT = 64 -- places called within 1/64 of a slot share a wave and end together
local ROOM_NUMBERS = {
  'issued', 'serving', 'lapsed', 'drawn', 'placed', 'lost', 'hold_until', 'checkpointed',
  'checkpoint_at', 'ticked_at', 'rate', 'rate_limit', 'tokens', 'outflow', 'outflow_slow', 'stock',
  'returnable', 'revision', 'mode_since', 'last_time', 'opened',
}
local ROOM_TEXTS = {'run_id', 'mode', 'waves', 'blocks', 'cursors'}

local function room_clock(last_time)
  local time = redis.call('TIME')
  return math.max(time[1] * 1000 + math.floor(time[2] / 1000), last_time) -- never runs backwards
end

local function read_room(keys)
  local room = {keys = keys, changed = {}}
  local numbers = redis.call('HMGET', keys[1], unpack(ROOM_NUMBERS))
  for i, name in ipairs(ROOM_NUMBERS) do
    room[name] = tonumber(numbers[i] or '')
    if not room[name] then return nil, 'meta.' .. name end
  end
  local texts = redis.call('HMGET', keys[1], unpack(ROOM_TEXTS))
  for i, name in ipairs(ROOM_TEXTS) do
    room[name] = texts[i]
    if not room[name] then return nil, 'meta.' .. name end
  end
  room.now = room_clock(room.last_time)
  return room
end

-- Returns the room, or nil and the packed refusal.
local function open_room(keys, run_id)
  local ok, room, missing = pcall(read_room, keys)
  if not ok then return nil, cmsgpack.pack({'recovering', 'a key of the right type'}) end
  if not room then return nil, cmsgpack.pack({'recovering', missing}) end
  if room.run_id ~= run_id then return nil, cmsgpack.pack({'recovering', 'another run'}) end
  return room
end

local function set_room(room, name, value)
  room[name] = value
  room.changed[name] = true
end

-- meta first: HSET is the write that may fail for lack of memory, and then nothing has changed.
local function flush_room(room)
  set_room(room, 'last_time', room.now)
  local fields = {}
  for name in pairs(room.changed) do
    local value = room[name]
    fields[#fields + 1] = name
    fields[#fields + 1] = type(value) == 'number' and string.format('%.0f', value) or value
  end
  redis.call('HSET', room.keys[1], unpack(fields))
  room.changed = {}
end

local function reply_room(result)
  return cmsgpack.pack({'ok', result})
end
