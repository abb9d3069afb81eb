-- queue_draw: fixes which numbers are in the draw, then stores the places drawn.
-- Guarantees: "begin" counts the numbers in the draw once and for all. Until "commit" nobody is
-- called and nobody can leave, so that the bitmap changes from numbers to places in one step.
-- KEYS    1 meta  2 gone
-- ARGV    1 run_id  2 "begin" | "commit"  3 count of numbers in the draw (commit)
--         4 the bitmap of places that are gone (commit)
-- RETURNS MessagePack {"ok", {count of numbers in the draw, whether places are set}}
-- @include arguments
-- @include room

local commit = ARGV[2] == 'commit'
if #KEYS ~= 2 or not (commit or ARGV[2] == 'begin') then return malformed('stage') end
if commit and not (is_integer(natural(ARGV[3]), 0, LATEST) and ARGV[4]) then
  return malformed('bitmap')
end
local room, refusal = open_room(KEYS, ARGV[1])
if not room then return refusal end
if not commit and room.drawn < 0 then
  set_room(room, 'drawn', room.issued)
  set_room(room, 'placed', 0)
  flush_room(room)
elseif commit and room.placed == 0 and tonumber(ARGV[3]) == room.drawn then
  set_room(room, 'placed', 1)
  flush_room(room)
  redis.call('SET', KEYS[2], ARGV[4])
end
return reply_room({room.drawn, room.placed})
