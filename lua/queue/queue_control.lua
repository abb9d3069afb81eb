-- queue_control: changes a room's mode or its rate limit, for an operator.
-- Guarantees: "pause" stops calling; "queue_all" also makes admitted buyers wait, and "resume"
-- gives them back the time they waited; "rate" bounds the buyers called per second.
-- KEYS    1 meta  2 gone
-- ARGV    1 run_id  2 "pause" | "queue_all" | "resume" | "rate"
--         3 for "rate": thousandths of a buyer per second, 0 = no bound; else 0
-- RETURNS MessagePack {"ok", {mode, rate limit}}
-- @include arguments
-- @include room
local MODES = {pause = 'paused', queue_all = 'queue_all', resume = 'open'}

local verb, limit = ARGV[2], natural(ARGV[3])
if #KEYS ~= 2 or not (MODES[verb] or verb == 'rate') or not is_integer(limit, 0, LATEST) then
  return malformed('call')
end
local room, refusal = open_room(KEYS, ARGV[1])
if not room then return refusal end
if verb == 'rate' then
  set_room(room, 'rate_limit', limit)
elseif MODES[verb] ~= room.mode then
  if room.mode == 'queue_all' then
    local waves = cmsgpack.unpack(room.waves)
    for _, wave in ipairs(waves) do wave[2] = wave[2] + room.now - room.mode_since end
    set_room(room, 'waves', cmsgpack.pack(waves))
  end
  set_room(room, 'mode', MODES[verb])
  set_room(room, 'mode_since', room.now)
end
flush_room(room)
return reply_room({room.mode, room.rate_limit})
