-- set_state: scheduled → open ⇄ paused → closed for the sale, or open ⇄ paused for one
-- of its items.
-- Guarantees: only along those edges; setting the current state again appends no event.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack {to, item or 0, actor}
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {"changed" | "unchanged" |
--         "invalid_state", from}}
-- @include arguments
-- @include record
-- @include partition

local EDGES = {
  scheduled = {open = true, closed = true},
  open = {paused = true, closed = true},
  paused = {open = true, closed = true},
  closed = {},
}

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local request = unpacked(ARGV[3] or '')
if not request or not EDGES[request[1]] or not is_integer(request[2], 0, partition.item_count)
   or not is_text(request[3], 128) then
  return malformed('request')
end
local to, item, meta = request[1], partition.items[request[2]], partition.meta
local from = meta.state
if item then from = item[5] and 'paused' or 'open' end
if from == to then return reply(partition, {'unchanged', from}) end
local allowed = EDGES[from][to] and (not item or to ~= 'closed')
if not allowed then return reply(partition, {'invalid_state', from}) end

append_event(partition, 'set_state', string.format('"from":"%s","to":"%s","sku":%s,"actor":%s',
  from, to, item and '"' .. item[1] .. '"' or 'null', cjson.encode(request[3])))
if item then
  item[5], partition.changed_item = to == 'paused', request[2]
else
  meta.state = to
end
flush(partition)
return reply(partition, {'changed', from})
