-- queue_draw: makes the room one with or without a draw; fixes which numbers are in the draw, then
-- stores the places drawn.
-- Guarantees: "begin" counts the numbers in the draw once and for all. Until "commit" nobody is
-- called and nobody can leave, so that the bitmap changes from numbers to places in one step.
-- KEYS    1 meta  2 gone
--         "draw" and "fifo" change a room only while no place was called.
-- ARGV    1 run_id  2 "draw" | "fifo" | "begin" | "commit"  3 count of numbers in the draw (commit)
--         4 the bitmap of places that are gone (commit)
-- RETURNS MessagePack {"ok", {count of numbers in the draw, whether places are set}}
-- @include arguments
-- @include room

-- Stages that set the order: `drawn` before, and after. Only a room whose order differs from the
-- sale's has 0 where a draw is to come, or -1 where there is none.
local ORDERS = {draw = {0, -1}, fifo = {-1, 0}}

local commit, order = ARGV[2] == 'commit', ORDERS[ARGV[2]]
if #KEYS ~= 2 or not (commit or order or ARGV[2] == 'begin') then return malformed('stage') end
if commit and not (is_integer(natural(ARGV[3]), 0, LATEST) and ARGV[4]) then
  return malformed('bitmap')
end
local room, refusal = open_room(KEYS, ARGV[1])
if not room then return refusal end
if order then
  if room.drawn == order[1] and room.placed == 1 and room.serving == 0 then
    set_room(room, 'drawn', order[2])
    flush_room(room)
  end
elseif not commit and room.drawn < 0 then
  set_room(room, 'drawn', room.issued)
  set_room(room, 'placed', 0)
  flush_room(room)
elseif commit and room.placed == 0 and tonumber(ARGV[3]) == room.drawn then
  set_room(room, 'placed', 1)
  flush_room(room)
  redis.call('SET', KEYS[2], ARGV[4])
end
return reply_room({room.drawn, room.placed})
