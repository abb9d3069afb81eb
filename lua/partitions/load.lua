-- load: (no partition) → scheduled.
-- Guarantees: idempotent; writes the whole partition, with its sentinels and its first event, or
-- changes nothing. Keys without their meta are lost data, and nothing is loaded over them.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack configuration (include/catalog.lua)
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {"loaded" | "already" | "other"}}
-- @include arguments
-- @include record
-- @include partition
-- @include stock
-- @include catalog

local function accounts_json(config)
  local parts = {}
  for _, account in ipairs(config[11]) do
    local item = config[10][account[3]]
    parts[#parts + 1] = string.format(
      '{"sku":"%s","location":"%s","units":%d,"unit_price":%d,"limit":%d,"floor":%d}',
      account[1], account[2], account[4], item[2], item[3], item[4])
  end
  return '[' .. table.concat(parts, ',') .. ']'
end

if #KEYS ~= 6 or not is_integer(natural(ARGV[2]), 1, LARGEST) or not is_text(ARGV[1], 64) then
  return malformed('caller')
end
local config = unpacked(ARGV[3] or '')
if not is_config(config) then return malformed('config') end
if redis.call('EXISTS', unpack(KEYS)) > 0 then
  local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
  if not partition then return refusal end
  local same = redis.call('HGET', KEYS[1], 'fingerprint') == config[12]
  return reply(partition, {same and 'already' or 'other'})
end

local meta = {
  epoch = tonumber(ARGV[2]), sequence = 0, sale = config[1], number = config[2], shift = 0,
  state = 'scheduled',
}
local partition = unit_of_work(KEYS, meta, wall_clock(0))
append_event(partition, 'load', string.format(
  '"accounts":%s,"hold_ms":%d,"extension_ms":%d,"opens_at":%d,"closes_at":%d,"split":%s'
    .. ',"waiting_room":%s,"unpaid_per_buyer":%d,"cooldown_after":%d,"cooldown_ms":%d'
    .. ',"cooldown_max_ms":%d,"unpaid_window_ms":%d',
  accounts_json(config), config[3], config[4], config[5], config[6], tostring(config[9]),
  tostring(config[13][1]), config[13][2], config[13][3], config[13][4], config[13][5],
  config[13][6]))
redis.call('XADD', KEYS[6], string.format('%d-1', meta.epoch), 'event', partition.events[1])
write_sentinels(KEYS)
local counters = {}
for i, account in ipairs(config[11]) do
  counters[i] = {account[4], 0, 0, 0, account[4], 0, 0}
end
write_stock(KEYS, config, counters)
in_chunks('HSET', KEYS[1], config_fields(config, counters))
redis.call('HSET', KEYS[1], 'run_id', ARGV[1], 'epoch', text(meta.epoch), 'sequence', '1',
  'state', meta.state, 'last_time', text(partition.wall))
return reply(partition, {'loaded'})
