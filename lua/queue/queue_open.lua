-- queue_open: makes a sale's waiting room, or adopts the existing room after Redis restarted.
-- Guarantees: no number is given out twice. Where data is missing, or may not be whole, numbering
-- continues above the ledger's checkpoint plus the margin; every waiting place then counts as gone
-- until its buyer shows the ticket again, and nobody is called for hold_ms.
-- KEYS    1 meta  2 gone  3 ended
-- ARGV    1 run_id  2 MessagePack {issued, serving, lapsed, hold_ms, admission_ms, rate, rate limit
--         (thousandths of a buyer per second), drawn (-1: the draw is to come, 0: no draw), mode,
--         whether the room was opened before, whether Redis has surely kept every answered write};
--         issued, serving, lapsed, drawn, mode and rate limit are the ledger's values
-- RETURNS MessagePack {"ok", "made" | "already" | "kept" | "resumed"}
-- @include arguments
-- @include room
-- @include places

local given = unpacked(ARGV[2] or '')
if #KEYS ~= 3 or not is_text(ARGV[1], 64) or not given or #given ~= 11
   or not is_text(given[9], 16) then
  return malformed('call')
end
for i = 1, 7 do
  if not is_integer(given[i], 0, LATEST) then return malformed('checkpoint') end
end
if not is_integer(given[8], -1, LATEST) then return malformed('drawn') end
local issued, serving, lapsed, hold_ms, admission_ms = unpack(given, 1, 5)
local existed, whole = given[10], given[11]

local ok, room = pcall(read_room, KEYS)
if not ok then room = nil end
if room and room.run_id == ARGV[1] then return reply_room('already') end
if room and whole and room.issued >= issued then
  -- Admitted buyers get back the time for which Redis was away.
  local waves = cmsgpack.unpack(room.waves)
  for _, wave in ipairs(waves) do wave[2] = wave[2] + room.now - room.ticked_at end
  set_room(room, 'waves', cmsgpack.pack(waves))
  set_room(room, 'ticked_at', room.now)
  set_room(room, 'run_id', ARGV[1])
  flush_room(room)
  return reply_room('kept')
end

local margin = (existed or room) and MARGIN or 0
local now = room_clock(room and room.last_time or 0)
local resumed = math.max(issued, room and room.issued or 0) + margin
serving = math.max(serving, room and room.serving or 0)
lapsed = math.min(serving, lapsed)
local waves = serving > lapsed and {{serving, now + admission_ms, now}} or {}
local fresh = {
  keys = KEYS, changed = {}, now = now, run_id = ARGV[1], mode = given[9], rate_limit = given[7],
  issued = resumed, serving = serving, lapsed = lapsed, drawn = given[8], placed = 1,
  lost = margin > 0 and resumed or 0, hold_until = margin > 0 and now + hold_ms or 0,
  checkpointed = issued, checkpoint_at = 0, ticked_at = now, rate = given[6], tokens = 0,
  outflow = 0, outflow_slow = 0, stock = 0, returnable = 0, mode_since = now, opened = 0,
  revision = (room and room.revision or 0) + 1, waves = cmsgpack.pack(waves),
  blocks = cmsgpack.pack({0, 8, {}}), cursors = cmsgpack.pack({}),
}
for _, names in ipairs({ROOM_NUMBERS, ROOM_TEXTS}) do
  for _, name in ipairs(names) do fresh.changed[name] = true end
end
flush_room(fresh)
redis.call('DEL', KEYS[2], KEYS[3])
-- Far above what any worker may remember of a former room, so that each reads all called places.
redis.call('HSET', KEYS[1], 'ended', string.format('%.0f', now * 100))
if margin > 0 then set_all_gone(KEYS[2], serving + 1, resumed) end
return reply_room(margin > 0 and 'resumed' or 'made')
