-- The pace at which a room calls places, and the end of slots. Rates: thousandths of a buyer per
-- second.
local SLOWEST = 1000 -- one buyer a second: enough calls to notice that the load has gone down
local BURST_MS = 1000
local CALLS_MOST = 256 -- reads of the bitmap in one tick

-- Drops the waves whose time is over; returns the others. In mode `queue_all` slots do not age.
local function end_waves(room)
  local waves, left = cmsgpack.unpack(room.waves), {}
  for _, wave in ipairs(waves) do
    if room.mode ~= 'queue_all' and wave[2] <= room.now then
      set_room(room, 'lapsed', math.max(room.lapsed, wave[1]))
    else
      left[#left + 1] = wave
    end
  end
  return left
end

-- Places called within a small part of a slot share one wave and end together: few waves to keep.
local function add_wave(room, waves, admission_ms)
  local last = waves[#waves]
  if last and room.now - last[3] < admission_ms / WAVES_PER_SLOT then
    last[1], last[2] = room.serving, room.now + admission_ms
  else
    waves[#waves + 1] = {room.serving, room.now + admission_ms, room.now}
  end
end

-- Sets the rate: additive increase while the gateway and Redis are quick, else multiplicative
-- decrease.
local function adapt_rate(room, elapsed, quick, highest, step)
  local rate = room.rate * 0.7
  if quick then rate = room.rate + step * math.min(elapsed, BURST_MS) / 1000 end
  if room.rate_limit > 0 then highest = math.min(highest, room.rate_limit) end
  set_room(room, 'rate', math.floor(math.max(math.min(SLOWEST, highest), math.min(rate, highest))))
end

-- Calls at most `free` places that are not gone, as the rate allows. Returns the number called.
local function call_places(room, gone, elapsed, free)
  local most = math.max(room.rate * BURST_MS / 1000, 1000)
  set_room(room, 'tokens', math.floor(math.min(most, room.tokens + room.rate * elapsed / 1000)))
  local wanted = math.min(free, math.floor(room.tokens / 1000))
  local called, serving = 0, room.serving
  for _ = 1, CALLS_MOST do
    if called >= wanted or serving >= room.issued then break end
    if gone_bit(gone, serving + 1) == 1 then
      serving = math.min(next_present(gone, serving + 1) - 1, room.issued)
    else
      local step = math.min(wanted - called, room.issued - serving)
      called = called + step - count_gone(gone, serving + 1, serving + step)
      serving = serving + step
    end
  end
  set_room(room, 'tokens', room.tokens - called * 1000)
  set_room(room, 'serving', serving)
  return called
end

-- Keeps two moving averages of the outflow, over about ten seconds and about a minute; the
-- estimated wait is a range between them.
local function note_outflow(room, called, elapsed)
  local now = called * 1000000 / math.max(elapsed, 1)
  for name, seconds in pairs({outflow = 10, outflow_slow = 60}) do
    local weight = 1 - math.exp(-elapsed / 1000 / seconds)
    set_room(room, name, math.floor(room[name] + (now - room[name]) * weight))
  end
end
