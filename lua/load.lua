-- load: (no partition) → scheduled.
-- Guarantees: idempotent; writes the partition whole, with its sentinels and its first event, or
-- changes nothing. Keys that exist without their meta are lost data, never a place to load into.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch  3 MessagePack {sale, number, hold_ms, extension_ms, opens_at,
--         closes_at, outbox_bound, sweep_bound, split, items {{sku, unit_price, limit, floor,
--         paused, {account, ...}}, ...}, accounts {{sku, location, item, units}, ...}, fingerprint}
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {"loaded" | "already" | "other"}}
-- @include arguments
-- @include record
-- @include partition

local MOST_ITEMS, MOST_ACCOUNTS = 100, 400

local function is_name(value)
  return type(value) == 'string' and #value >= 1 and #value <= 64 and not value:find('[^%w._-]')
end

local function is_account(value, items)
  return type(value) == 'table' and is_name(value[1]) and is_name(value[2])
    and is_integer(value[3], 1, items) and is_integer(value[4], 0, LARGEST)
end

local function is_item(value)
  return type(value) == 'table' and is_name(value[1]) and is_integer(value[2], 0, LARGEST)
    and is_integer(value[3], 1, LARGEST) and is_integer(value[4], -LARGEST, LARGEST)
    and type(value[5]) == 'boolean' and type(value[6]) == 'table'
end

-- Every account is named once, by its own item: one that counts twice would sell its units twice.
local function check_items(config)
  local items, accounts = config[10], config[11]
  if type(items) ~= 'table' or #items < 1 or #items > MOST_ITEMS then return false end
  if type(accounts) ~= 'table' or #accounts < 1 or #accounts > MOST_ACCOUNTS then return false end
  local seen, owned = {}, 0
  for i = 1, #accounts do
    local account = accounts[i]
    if not is_account(account, #items) then return false end
    local name = account[1] .. ':' .. account[2]
    if seen[name] then return false end
    seen[name] = true
  end
  for i = 1, #items do
    local item = items[i]
    if not is_item(item) or #item[6] == 0 or seen[item[1]] then return false end
    seen[item[1]] = true
    for k = 1, #item[6] do
      local number = item[6][k]
      if not is_integer(number, 1, #accounts) or seen[number] or accounts[number][3] ~= i
         or accounts[number][1] ~= item[1] then
        return false
      end
      seen[number], owned = true, owned + 1
    end
  end
  return owned == #accounts
end

local function check(config)
  return config and type(config[1]) == 'string' and #config[1] <= 64
    and config[1]:find('^[a-z0-9][a-z0-9-]*$') and is_integer(config[2], 0, LARGEST)
    and is_integer(config[3], 1, LARGEST) and is_integer(config[4], 0, LARGEST)
    and is_integer(config[5], 0, LATEST) and is_integer(config[6], 0, LATEST)
    and is_integer(config[7], 1, LARGEST) and is_integer(config[8], 1, 10000)
    and type(config[9]) == 'boolean' and is_fingerprint(config[12]) and check_items(config)
end

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
if not check(config) then return malformed('config') end
local stored = redis.call('EXISTS', unpack(KEYS))
if stored > 0 then
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
  '"accounts":%s,"hold_ms":%d,"extension_ms":%d,"opens_at":%.0f,"closes_at":%.0f,"split":%s',
  accounts_json(config), config[3], config[4], config[5], config[6], tostring(config[9])))
redis.call('XADD', KEYS[6], string.format('%d-1', meta.epoch), 'event', partition.events[1])
local stock = {SENTINEL, '1'}
for _, account in ipairs(config[11]) do
  local prefix = account[1] .. ':' .. account[2] .. ':'
  for _, name in ipairs({'loaded', 'available'}) do
    stock[#stock + 1], stock[#stock + 2] = prefix .. name, string.format('%.0f', account[4])
  end
  for _, name in ipairs({'adjusted', 'transferred', 'in_transit', 'held', 'sold'}) do
    stock[#stock + 1], stock[#stock + 2] = prefix .. name, '0'
  end
end
in_chunks('HSET', KEYS[2], stock)
redis.call('HSET', KEYS[3], SENTINEL, '1')
redis.call('HSET', KEYS[4], SENTINEL, '1')
redis.call('ZADD', KEYS[5], '+inf', SENTINEL)
local accounts = {}
for i, account in ipairs(config[11]) do accounts[i] = {account[1], account[2], account[3]} end
local function text(value) return string.format('%.0f', value) end
redis.call('HSET', KEYS[1],
  'run_id', ARGV[1], 'epoch', text(meta.epoch), 'sequence', '1', 'state', meta.state,
  'sale', meta.sale, 'number', text(meta.number), 'hold_ms', text(config[3]),
  'extension_ms', text(config[4]), 'opens_at', text(config[5]), 'closes_at', text(config[6]),
  'last_time', text(partition.wall), 'shift', '0', 'ledger_sequence', '0',
  'outbox_bound', text(config[7]), 'sweep_bound', text(config[8]), 'fingerprint', config[12],
  'catalog', cmsgpack.pack({config[10], accounts, config[9]}))
return reply(partition, {'loaded'})
