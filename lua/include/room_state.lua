-- The state of a room, which a worker remembers from one read to the next.
-- @include room
-- @include places
local HEX = {}
for byte = 0, 255 do HEX[string.char(byte)] = string.format('%02x', byte) end

-- The bitmap of places called and not lapsed: its first place (a multiple of 8), and hex text.
local function called_window(gone, room)
  local first = math.floor((room.lapsed + 1) / 8)
  local bytes = redis.call('GETRANGE', gone, string.format('%.0f', first),
    string.format('%.0f', math.floor(room.serving / 8)))
  return first * 8, (bytes:gsub('.', HEX))
end

local function room_state(gone, room)
  local window_first, window = called_window(gone, room)
  return {
    room.now, room.mode, room.opened, room.issued, room.serving, room.lapsed, room.drawn,
    room.placed, room.lost, room.hold_until, room.checkpointed, room.ticked_at, room.rate,
    room.rate_limit, room.outflow, room.outflow_slow, room.stock, room.returnable, room.revision,
    count_active(gone, room), cmsgpack.unpack(room.waves), cmsgpack.unpack(room.blocks),
    cmsgpack.unpack(room.cursors), window_first, window,
  }
end
