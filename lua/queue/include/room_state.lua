-- The state of a room, which a worker remembers from one read to the next.
-- @include room
-- @include places
local HEX = {}
for byte = 0, 255 do HEX[string.char(byte)] = string.format('%02x', byte) end

-- The bitmap of places called, from a place on: its first place (a multiple of 8), and hex text.
local function called_window(gone, room, from)
  local first = math.floor(from / 8)
  local bytes = redis.call('GETRANGE', gone, string.format('%.0f', first),
    string.format('%.0f', math.floor(room.serving / 8)))
  return first * 8, (bytes:gsub('.', HEX))
end

-- What a look has to tell of the called places: whole, or what is new since `known` of all ended
-- places and since place `serving`. Returns the number of all ended places, the bitmap of the new
-- called places, whether it is whole, and the places ended since. So the work of a look follows the
-- changes, not the places called in an admission time.
local function called_since(gone, ended, room, known, serving)
  local total = tonumber(redis.call('HGET', room.keys[1], 'ended') or '0')
  local missed = total - known
  if known < 0 or serving < 0 or missed < 0 or serving > room.serving
     or missed > redis.call('LLEN', ended) then
    local first, window = called_window(gone, room, room.lapsed + 1)
    return total, first, window, true, {}
  end
  local places = missed > 0 and redis.call('LRANGE', ended, -missed, -1) or {}
  for i, place in ipairs(places) do places[i] = tonumber(place) end
  local first, window = called_window(gone, room, math.max(room.lapsed, serving) + 1)
  return total, first, window, false, places
end

local function room_state(gone, ended, room, known, serving)
  local total, window_first, window, whole, places =
    called_since(gone, ended, room, known, serving)
  return {
    room.now, room.mode, room.opened, room.issued, room.serving, room.lapsed, room.drawn,
    room.placed, room.lost, room.hold_until, room.checkpointed, room.ticked_at, room.rate,
    room.rate_limit, room.outflow, room.outflow_slow, room.stock, room.returnable, room.revision,
    count_active(gone, room), cmsgpack.unpack(room.waves), cmsgpack.unpack(room.blocks),
    cmsgpack.unpack(room.cursors), window_first, window, total, whole, places,
  }
end
