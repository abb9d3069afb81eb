-- A sale's configuration, the argument of `load` and `restore`: {sale, number, hold_ms,
-- extension_ms, opens_at, closes_at, outbox_bound, sweep_bound, split, items {{sku, unit_price,
-- limit, floor, paused, {account, ...}}, ...}, accounts {{sku, location, item, units}, ...},
-- fingerprint, rules {waiting room, unpaid reservations per buyer, reservations given back before
-- the first wait (0: no waits), first wait in ms, longest wait in ms, ms of a window of unpaid
-- reservations (0: the whole sale)}}.
local MOST_ITEMS, MOST_LOCATIONS, MOST_ACCOUNTS = 1000, 400, 1000

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

-- Each account belongs to exactly one item: an account counted twice would sell its units twice.
-- The accounts of an item are numbered one after the other.
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
    if not is_item(item) or #item[6] == 0 or #item[6] > MOST_LOCATIONS or seen[item[1]] then
      return false
    end
    seen[item[1]] = true
    for k = 1, #item[6] do
      local number = item[6][k]
      if not is_integer(number, 1, #accounts) or seen[number] or accounts[number][3] ~= i
         or accounts[number][1] ~= item[1] or number ~= item[6][1] + k - 1 then
        return false
      end
      seen[number], owned = true, owned + 1
    end
  end
  return owned == #accounts
end

local function are_rules(rules)
  return type(rules) == 'table' and #rules == 6 and type(rules[1]) == 'boolean'
    and is_integer(rules[2], 1, 10000) and is_integer(rules[3], 0, 1000)
    and is_integer(rules[4], 0, LARGEST) and is_integer(rules[5], 0, LARGEST)
    and is_integer(rules[6], 0, LARGEST)
end

local function is_config(config)
  return config and type(config[1]) == 'string' and #config[1] <= 64
    and config[1]:find('^[a-z0-9][a-z0-9-]*$') and is_integer(config[2], 0, LARGEST)
    and is_integer(config[3], 1, LARGEST) and is_integer(config[4], 0, LARGEST)
    and is_integer(config[5], 0, LATEST) and is_integer(config[6], 0, LATEST)
    and is_integer(config[7], 1, LARGEST) and is_integer(config[8], 1, 10000)
    and type(config[9]) == 'boolean' and is_fingerprint(config[12]) and are_rules(config[13])
    and check_items(config)
end

local function text(value) return string.format('%d', value) end

-- The item's entries (include/items.lua), appended to `fields`.
local function add_entries(fields, number, item, config, counters)
  local locations, available = {}, 0
  for place, index in ipairs(item[6]) do
    locations[place] = config[11][index][2]
    available = available + counters[index][5]
    fields[#fields + 1], fields[#fields + 2] = 'account:' .. text(index), text(number)
  end
  fields[#fields + 1] = 'item:' .. text(number)
  fields[#fields + 1] = cmsgpack.pack(
    {item[1], item[2], item[3], item[4], item[5], item[6][1], locations})
  if #locations > 1 then
    fields[#fields + 1], fields[#fields + 2] = 'available:' .. text(number), text(available)
  end
end

-- The configuration's fields in meta. A partition exists only once run_id, epoch, sequence and
-- state are set too. `counters`: for each account, in the catalogue's order, the values of
-- STOCK_FIELDS.
local function config_fields(config, counters)
  local fields = {
    'sale', config[1], 'number', text(config[2]), 'hold_ms', text(config[3]),
    'extension_ms', text(config[4]), 'opens_at', text(config[5]), 'closes_at', text(config[6]),
    'outbox_bound', text(config[7]), 'sweep_bound', text(config[8]), 'fingerprint', config[12],
    'shift', '0', 'ledger_sequence', '0',
    'catalog', cmsgpack.pack({#config[10], #config[11], config[9], config[13]}),
  }
  for number, item in ipairs(config[10]) do add_entries(fields, number, item, config, counters) end
  return fields
end

-- A value of more than 64 bytes makes Redis keep the hash as a table. A small hash is a list
-- otherwise, which each read and write of a field searches from its start.
local function write_sentinels(keys)
  for i = 1, 4 do redis.call('HSET', keys[i], SENTINEL, string.rep('.', 65)) end
  redis.call('ZADD', keys[5], '+inf', SENTINEL)
end

local function write_stock(keys, config, counters)
  local fields = {}
  for i, account in ipairs(config[11]) do
    for k, name in ipairs(STOCK_FIELDS) do
      fields[#fields + 1] = account[1] .. ':' .. account[2] .. ':' .. name
      fields[#fields + 1] = text(counters[i][k])
    end
  end
  in_chunks('HSET', keys[2], fields)
end
