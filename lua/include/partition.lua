-- One partition as a unit of work: `open_partition` reads and fences it, the functions of the other
-- includes decide and change it in memory, `flush` writes. Nothing is written before everything is
-- decided, and the first write is the event, so no unit can move without one.
--
-- keys, in this order everywhere: meta (hash), stock (hash), reservations (hash), buyers (hash),
-- deadlines (sorted set), outbox (stream). Each always has at least one entry (a sentinel, or the
-- last event), so a missing key means lost data and is never read as zero.
-- @include items
local SENTINEL = ''
local META_FIELDS = {
  'epoch', 'sequence', 'number', 'opens_at', 'closes_at', 'hold_ms', 'extension_ms', 'last_time',
  'shift', 'ledger_sequence', 'outbox_bound', 'sweep_bound', 'run_id', 'state', 'sale', 'catalog',
}
local META_NUMBERS = 12 -- the first twelve fields are integers, the others text

local function wall_clock(last_time)
  local time = redis.call('TIME')
  return math.max(time[1] * 1000 + math.floor(time[2] / 1000), last_time) -- never runs backwards
end

-- `items`: numbers of items that are read in the same step, since a command of their own would cost
-- a tenth of a reserve; their fields are appended to META_FIELDS. Returns the meta and all values.
local function read_meta(keys, items)
  local count = #META_FIELDS
  for i = 1, #items do META_FIELDS[count + i] = 'item:' .. items[i] end
  local values, meta = redis.call('HMGET', keys[1], unpack(META_FIELDS)), {}
  for i = 1, count do
    local value = values[i]
    if value and i <= META_NUMBERS then value = tonumber(value) end
    if not value then return nil, 'meta.' .. META_FIELDS[i] end
    meta[META_FIELDS[i]] = value
  end
  return meta, values
end

-- The parts that all events of one call share, formatted once.
local function frame_events(partition)
  local meta = partition.meta
  partition.first_sequence = meta.sequence
  partition.event_start = string.format('"event_id":"%s:%d:%d-', meta.sale, meta.number, meta.epoch)
  partition.event_middle = string.format('","sale_id":"%s","partition":%d,"epoch":%d,"sequence":',
    meta.sale, meta.number, meta.epoch)
  partition.event_end = string.format(',"occurred_at":%d,', partition.wall)
  partition.id_start = string.format('"reservation_id":"%s.%d.', meta.sale, meta.number)
end

local function unit_of_work(keys, meta, wall)
  local partition = {
    keys = keys, meta = meta, wall = wall,
    now = wall - meta.shift, -- stands still during outages: see `recover`
    records = {}, buyers = {}, stock = {}, seen = {}, deadlines = {}, events = {},
    record_fields = {}, changed_buyers = {}, changed_stock = {}, line_texts = {},
  }
  frame_events(partition)
  return partition
end

-- Returns the partition, or nil and the name of what is missing. The types of the other keys are
-- proven by the reads that every script makes before its first write. `items`: numbers of items to
-- read in the same step, or nil.
local function read_partition(keys, items)
  if #keys ~= 6 then return nil, 'keys' end
  if redis.call('EXISTS', unpack(keys)) ~= 6 then return nil, 'a key' end
  local meta, values = read_meta(keys, items or {})
  if not meta then return nil, values end
  if not redis.call('ZSCORE', keys[5], SENTINEL) then return nil, 'deadlines' end
  local partition = unit_of_work(keys, meta, wall_clock(meta.last_time))
  open_catalog(partition, meta.catalog)
  for i = 1, items and not partition.whole_catalog and #items or 0 do
    local packed = values[#values - #items + i]
    partition.items[items[i]] = packed and cmsgpack.unpack(packed) or nil
  end
  partition.waiting_room, partition.unpaid_per_buyer = partition.rules[1], partition.rules[2]
  return partition
end

-- Opens a partition for a change: the server run and the epoch must be the trusted ones.
-- Returns the partition, or nil and the packed refusal.
local function open_partition(keys, run_id, epoch, items)
  local ok, partition, missing = pcall(read_partition, keys, items)
  if not ok then return nil, cmsgpack.pack({'recovering', 'a key of the right type'}) end
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

-- Lua's stack holds some thousand values, so a long list of arguments is sent in several calls.
local function in_chunks(command, key, arguments)
  for from = 1, #arguments, 1000 do
    redis.call(command, key, unpack(arguments, from, math.min(from + 999, #arguments)))
  end
end

-- `body`: the type's own members of the JSON object, without a leading comma.
local function append_event(partition, event_type, body)
  local sequence = partition.meta.sequence + 1
  local text = string.format('%d', sequence)
  partition.meta.sequence = sequence
  partition.events[#partition.events + 1] = '{"v":1,"type":"' .. event_type .. '",'
    .. partition.event_start .. text .. partition.event_middle .. text .. partition.event_end
    .. body .. '}'
end

-- A buyer whose array became empty loses the field.
local function flush_buyers(partition)
  local fields, empty = {}, {}
  for id in pairs(partition.changed_buyers) do
    local buyer = partition.buyers[id]
    if #buyer > 0 then
      fields[#fields + 1] = id
      fields[#fields + 1] = cmsgpack.pack(buyer)
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
      added[#added + 1] = string.format('%d', deadline)
      added[#added + 1] = token
    else
      removed[#removed + 1] = token
    end
  end
  in_chunks('ZADD', partition.keys[5], added)
  in_chunks('ZREM', partition.keys[5], removed)
end

local function flush_stock(partition)
  local fields = {}
  for index, names in pairs(partition.changed_stock) do
    local prefix = partition.accounts[index][1] .. ':' .. partition.accounts[index][2] .. ':'
    for name in pairs(names) do
      fields[#fields + 1] = prefix .. name
      fields[#fields + 1] = string.format('%d', partition.stock[index][name])
    end
  end
  in_chunks('HSET', partition.keys[2], fields)
end

-- Events first: XADD is the write that may fail (memory, disk, a wrong id), and if it does, nothing
-- has changed.
local function flush(partition)
  local meta = partition.meta
  if #partition.events == 0 then
    flush_deadlines(partition) -- a sweep may have set some right, of which no event tells
    return
  end
  local id_format = string.format('%d-%%d', meta.epoch)
  for i, event in ipairs(partition.events) do
    local id = string.format(id_format, partition.first_sequence + i)
    redis.call('XADD', partition.keys[6], id, 'event', event)
  end
  in_chunks('HSET', partition.keys[3], partition.record_fields)
  flush_buyers(partition)
  flush_deadlines(partition)
  flush_stock(partition)
  redis.call('HSET', partition.keys[1], 'sequence', string.format('%d', meta.sequence),
    'state', meta.state, 'last_time', string.format('%d', partition.wall))
  if partition.changed_item or next(partition.changed_totals) then
    in_chunks('HSET', partition.keys[1], changed_entries(partition))
  end
end

-- `more` is appended after the result; nil appends nothing.
local function reply(partition, result, more)
  return cmsgpack.pack(
    {'ok', partition.meta.epoch, partition.wall, partition.meta.shift, result, more})
end
