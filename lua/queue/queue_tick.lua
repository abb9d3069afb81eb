-- queue_tick: ends slots whose time is over, calls the next places, and adapts the rate.
-- Guarantees: at most one tick per interval, however many workers ask; never more active buyers
-- than ARGV allows; places are called in order, and gone places are passed over.
-- KEYS    1 meta  2 gone  3 ended
-- ARGV    1 run_id  2 MessagePack {interval_ms, admission_ms, most active buyers, whether buyers
--         may be called, whether the gateway and Redis are quick, highest rate, rate step,
--         units left, units that may return, last number in the ledger, {place used, ...},
--         {partition, position read up to, ...}}; rates in thousandths of a buyer per second
-- RETURNS MessagePack {"ok", {whether a tick was due, whether a checkpoint is due}}
-- @include arguments
-- @include room
-- @include places
-- @include pace

local given = unpacked(ARGV[2] or '')
if #KEYS ~= 3 or not given or #given ~= 12 or type(given[11]) ~= 'table'
   or type(given[12]) ~= 'table' or #given[11] > 20000 then
  return malformed('call')
end
for _, i in ipairs({1, 2, 3, 6, 7, 8, 9, 10}) do
  if not is_integer(given[i], 0, LATEST) then return malformed('number') end
end
local room, refusal = open_room(KEYS, ARGV[1])
if not room then return refusal end
for _, place in ipairs(given[11]) do
  if not is_integer(place, 1, LATEST) then return malformed('place') end
end
if given[10] > room.checkpointed then
  set_room(room, 'checkpointed', given[10])
  flush_room(room)
end
local elapsed = room.now - room.ticked_at
if elapsed < given[1] then return reply_room({false, false}) end

local due = room.now - room.checkpoint_at >= 1000 or room.issued - room.checkpointed > MARGIN / 2
set_room(room, 'ticked_at', room.now)
set_room(room, 'stock', given[8])
set_room(room, 'returnable', given[9])
set_room(room, 'cursors', cmsgpack.pack(given[12]))
if given[4] then set_room(room, 'opened', 1) end
if due then set_room(room, 'checkpoint_at', room.now) end
flush_room(room)
local ended = {}
for _, place in ipairs(given[11]) do
  if place <= room.serving then
    set_gone(KEYS[2], place)
    ended[#ended + 1] = string.format('%.0f', place)
  end
end
note_ended(room, KEYS[3], ended)

local waves = end_waves(room)
adapt_rate(room, elapsed, given[5], given[6], given[7])
local called = 0
if given[4] and room.mode == 'open' and room.placed == 1 and room.drawn >= 0
   and room.now >= room.hold_until then
  called = call_places(room, KEYS[2], elapsed, given[3] - count_active(KEYS[2], room))
end
if called > 0 then add_wave(room, waves, given[2]) end
note_outflow(room, called, elapsed)
set_room(room, 'waves', cmsgpack.pack(waves))
set_room(room, 'blocks', gone_blocks(KEYS[2], room))
flush_room(room)
return reply_room({true, due})
