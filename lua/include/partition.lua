-- One partition as a unit of work: `open_partition` reads and fences it, the functions of the other
-- includes change it in memory, `flush` writes it. Nothing is written before everything is decided,
-- and the first write is the event, so no unit can move without one.
--
-- keys, in this order everywhere: meta (hash), stock (hash), reservations (hash), buyers (hash),
-- deadlines (sorted set), outbox (stream). Each always has at least one entry (a sentinel, or the
-- last event), so a key that is missing means lost data and is never read as zero.
local META_FIELDS = {
  'run_id', 'epoch', 'sequence', 'state', 'sale', 'number', 'opens_at', 'closes_at', 'hold_ms',
  'extension_ms', 'last_time', 'shift', 'ledger_sequence', 'outbox_bound', 'sweep_bound', 'catalog',
}
local META_TEXT = {run_id = true, state = true, sale = true, catalog = true}
local SENTINEL = ''

local function wall_clock(last_time)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  return math.max(now, last_time) -- the partition's clock never runs backwards
end

local function read_meta(keys)
  local values = redis.call('HMGET', keys[1], unpack(META_FIELDS))
  local meta = {}
  for i, name in ipairs(META_FIELDS) do
    local value = values[i]
    if value and not META_TEXT[name] then value = tonumber(value) end
    if not value then return nil, name end
    meta[name] = value
  end
  return meta
end

-- The partition, or nil and what is missing. Reading every key here also proves its type.
local function read_partition(keys)
  if #keys ~= 6 then return nil, 'keys' end
  local meta, missing = read_meta(keys)
  if not meta then return nil, 'meta.' .. missing end
  for i, name in ipairs({'stock', 'reservations', 'buyers'}) do
    if redis.call('HEXISTS', keys[i + 1], SENTINEL) == 0 then return nil, name end
  end
  if not redis.call('ZSCORE', keys[5], SENTINEL) then return nil, 'deadlines' end
  if redis.call('XLEN', keys[6]) == 0 then return nil, 'outbox' end
  local catalog = cmsgpack.unpack(meta.catalog)
  local wall = wall_clock(meta.last_time)
  return {
    keys = keys, meta = meta, items = catalog[1], accounts = catalog[2], split = catalog[3],
    wall = wall, now = wall - meta.shift, -- `now` stands still during outages: see `recover`
    records = {}, buyers = {}, stock = {}, events = {}, first_sequence = meta.sequence,
    dirty_records = {}, dirty_buyers = {}, deadlines = {},
  }
end

-- A partition this caller may change: the server run and the epoch must be the trusted ones.
-- Returns partition, or nil and the packed refusal.
local function open_partition(keys, run_id, epoch)
  local ok, partition, missing = pcall(read_partition, keys)
  if not ok then return nil, cmsgpack.pack({'recovering', 'a key has another type'}) end
  if not partition then return nil, cmsgpack.pack({'recovering', missing}) end
  local meta = partition.meta
  if run_id ~= meta.run_id or tonumber(epoch) ~= meta.epoch then
    return nil, cmsgpack.pack({'fenced', meta.epoch, run_id == meta.run_id})
  end
  return partition
end

local function is_behind(partition)
  return partition.meta.sequence - partition.meta.ledger_sequence >= partition.meta.outbox_bound
end

-- Lua's stack holds some thousand values, so a long list of arguments goes out in several calls.
local function in_chunks(command, key, arguments)
  for from = 1, #arguments, 1000 do
    redis.call(command, key, unpack(arguments, from, math.min(from + 999, #arguments)))
  end
end

-- `body` is the inside of a JSON object that follows the common fields, without a leading comma.
local function append_event(partition, event_type, body)
  local meta = partition.meta
  meta.sequence = meta.sequence + 1
  partition.events[#partition.events + 1] = string.format(
    '{"v":1,"type":"%s","event_id":"%s:%d:%d-%d","sale_id":"%s","partition":%d,"epoch":%d,'
      .. '"sequence":%d,"occurred_at":%.0f,%s}',
    event_type, meta.sale, meta.number, meta.epoch, meta.sequence, meta.sale, meta.number,
    meta.epoch, meta.sequence, partition.wall, body)
end

local function flush_stock(partition)
  local fields = {}
  for index, account in pairs(partition.stock) do
    local prefix = partition.accounts[index][1] .. ':' .. partition.accounts[index][2] .. ':'
    for name, value in pairs(account.now) do
      if value ~= account.was[name] then
        fields[#fields + 1] = prefix .. name
        fields[#fields + 1] = string.format('%.0f', value)
      end
    end
  end
  in_chunks('HSET', partition.keys[2], fields)
end

local function flush_records(partition)
  local fields = {}
  for token in pairs(partition.dirty_records) do
    fields[#fields + 1] = token
    fields[#fields + 1] = encode_record(partition.records[token])
  end
  in_chunks('HSET', partition.keys[3], fields)
end

local function flush_buyers(partition)
  local fields, empty = {}, {}
  for id in pairs(partition.dirty_buyers) do
    local packed = encode_buyer(partition.buyers[id])
    if packed then
      fields[#fields + 1] = id
      fields[#fields + 1] = packed
    else
      empty[#empty + 1] = id
    end
  end
  in_chunks('HSET', partition.keys[4], fields)
  in_chunks('HDEL', partition.keys[4], empty)
end

local function flush_deadlines(partition)
  local added, removed = {}, {}
  for token, deadline in pairs(partition.deadlines) do
    if deadline then
      added[#added + 1] = string.format('%.0f', deadline)
      added[#added + 1] = token
    else
      removed[#removed + 1] = token
    end
  end
  in_chunks('ZADD', partition.keys[5], added)
  in_chunks('ZREM', partition.keys[5], removed)
end

-- Events first: XADD is the write that may fail (memory, disk, a wrong id), and then nothing moved.
local function flush(partition)
  local meta = partition.meta
  if #partition.events == 0 then return end
  for i, event in ipairs(partition.events) do
    redis.call('XADD', partition.keys[6],
      string.format('%d-%d', meta.epoch, partition.first_sequence + i), 'event', event)
  end
  flush_records(partition)
  flush_buyers(partition)
  flush_deadlines(partition)
  flush_stock(partition)
  in_chunks('HSET', partition.keys[1], {
    'sequence', string.format('%.0f', meta.sequence), 'state', meta.state,
    'last_time', string.format('%.0f', partition.wall),
  })
  if partition.catalog_changed then
    redis.call('HSET', partition.keys[1], 'catalog',
      cmsgpack.pack({partition.items, partition.accounts, partition.split}))
  end
end

local function reply(partition, result)
  return cmsgpack.pack({'ok', partition.meta.epoch, partition.wall, partition.meta.shift, result})
end
