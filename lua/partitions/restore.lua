-- restore: (lost or outdated partition) → epoch e + k, rebuilt from the ledger in three stages.
-- Guarantees: between `begin` and `commit` every other script is refused. `commit` trusts the
-- partition only when the counts and the identity of every account hold. Each stage may be
-- repeated; a repeated chunk changes nothing. A stage of an older epoch than the newest seen is
-- refused.
-- KEYS    1-6 the partition (include/partition.lua)  7 optional: the ledger that counts
-- ARGV    1 run_id of the current server  2 the new epoch  3 MessagePack, one of
--         {"begin", configuration (include/catalog.lua), {{loaded, adjusted, transferred,
--          in_transit, available, held, sold}, ...}, keys of adjustments
--          (include/adjustments.lua)}
--         {"chunk", {token, packed reservation (include/record.lua), wall_ms of its last event,
--          admission spent or 0, ...}}
--         {"commit", reservations, active holds, closed epoch, closed sequence, state, shift_ms,
--          closed epochs (include/closed_epochs.lua; default: none)}
--         4 with key 7: the ledger that says so (include/counting_ledger.lua)
-- RETURNS MessagePack {"ok", epoch, wall_ms, 0, {"begun" | "stored" | "restored" | "already" |
--         "newer" | "not_begun" | "differs"}}, or {"ledger_fenced", the ledger that counts}
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include counting_ledger
-- @include stock
-- @include reservation
-- @include catalog
-- @include rebuilt
-- @include adjustments
-- @include closed_epochs

local MOST_RECORDS = 2000
local epoch = natural(ARGV[2])
local keys, fenced = keys_by_word(KEYS, ARGV[4])

local function answer(word)
  return cmsgpack.pack({'ok', epoch, wall_clock(0), 0, {word}})
end

local function are_counters(counters, accounts)
  if type(counters) ~= 'table' or #counters ~= #accounts then return false end
  for _, values in ipairs(counters) do
    if type(values) ~= 'table' or #values ~= #STOCK_FIELDS then return false end
    for _, value in ipairs(values) do
      if not is_integer(value, -LARGEST_COUNTER, LARGEST_COUNTER) then return false end
    end
    if values[1] + values[2] + values[3] ~= values[5] + values[6] + values[7] then return false end
  end
  return true
end

local function are_adjustments(made)
  if type(made) ~= 'table' or #made % 3 ~= 0 or #made > 3 * MOST_KEYS then return false end
  for i = 1, #made, 3 do
    if type(made[i]) ~= 'string' or not is_token(made[i]:match('^(.-):'))
       or not is_fingerprint(made[i]:match(':(.*)$')) or not is_integer(made[i + 1], 1, LATEST)
       or not is_integer(made[i + 2], 0, LATEST) then
      return false
    end
  end
  return true
end

local function begin(request)
  local config, counters, made = request[2], request[3], request[4] or {}
  if not is_config(config) or not are_counters(counters, config[11])
     or not are_adjustments(made) then
    return malformed('begin')
  end
  redis.call('UNLINK', unpack(keys))
  write_sentinels(keys)
  write_stock(keys, config, counters)
  in_chunks('HSET', keys[1], config_fields(config, counters))
  if #made > 0 then store_adjustments(keys, made) end
  redis.call('HSET', keys[1], 'restoring', text(epoch))
  return answer('begun')
end

-- Adds the reservation to the buyer's numbers: its units held, or confirmed less returned; or, when
-- it was cancelled or expired, one reservation given back `at` an instant.
local function count_for_buyer(partition, buyer, record, at)
  local state, lines, returned = record[STATE], record[LINES], record[RETURNED]
  if state == CANCELLED or state == EXPIRED then
    count_unpaid(partition, buyer, at)
    return set_number(buyer, GIVEN_BACK, count_of(buyer, GIVEN_BACK) + 1)
  end
  for i = 1, #lines, 2 do add_count(buyer, item_of(partition, lines[i]), lines[i + 1]) end
  for i = 1, returned and #returned or 0, 2 do
    add_count(buyer, item_of(partition, returned[i]), -returned[i + 1])
  end
end

-- Reads fields of a hash in few calls: one HGET per field would cost more than all other work here.
local function read_fields(key, names)
  local found = {}
  for from = 1, #names, 1000 do
    local values = redis.call('HMGET', key, unpack(names, from, math.min(from + 999, #names)))
    for i, value in ipairs(values) do found[names[from + i - 1]] = value end
  end
  return found
end

-- Returns the chunk as columns: tokens, packed records, records, buyer ids, instants, admissions.
-- Raises an error where the chunk is malformed.
local function read_chunk(entries, accounts)
  assert(type(entries) == 'table' and #entries > 0 and #entries % 4 == 0
    and #entries <= 4 * MOST_RECORDS)
  local tokens, packed, records, ids, instants, admissions = {}, {}, {}, {}, {}, {}
  for i = 1, #entries / 4 do
    local token, stored, at, admission = unpack(entries, 4 * i - 3, 4 * i)
    local record = cmsgpack.unpack(stored)
    assert(is_token(token) and is_record(record, accounts) and is_integer(at, 0, LATEST)
      and is_integer(admission, 0, LATEST))
    tokens[i], packed[i], records[i], ids[i] = token, stored, record, record[BUYER]
    instants[i], admissions[i] = at, admission
  end
  return tokens, packed, records, ids, instants, admissions
end

local function chunk(request)
  local partition = {
    keys = keys, buyers = {}, changed_buyers = {}, deadlines = {},
  }
  open_catalog(partition, redis.call('HGET', keys[1], 'catalog'))
  local ok, tokens, packed, records, ids, instants, admissions =
    pcall(read_chunk, request[2], partition.accounts)
  if not ok then return malformed('chunk') end
  local known, packed_buyers = read_fields(keys[3], tokens), read_fields(keys[4], ids)
  local buyers, fields = partition.buyers, {}
  for i, token in ipairs(tokens) do
    if not known[token] then
      known[token] = true
      fields[#fields + 1] = token
      fields[#fields + 1] = packed[i]
      local record, id = records[i], ids[i]
      local buyer = buyers[id]
      if not buyer then
        buyer = packed_buyers[id] and cmsgpack.unpack(packed_buyers[id]) or {}
        buyers[id], partition.changed_buyers[id] = buyer, true
      end
      count_for_buyer(partition, buyer, record, instants[i])
      if admissions[i] > 0 then
        set_number(buyer, ADMISSION, math.max(admissions[i], count_of(buyer, ADMISSION)))
      end
      if record[STATE] == HELD then
        buyer[#buyer + 1] = token
        partition.deadlines[token] = record[DEADLINE]
      end
    end
  end
  in_chunks('HSET', keys[3], fields)
  flush_buyers(partition)
  flush_deadlines(partition)
  return answer('stored')
end

local function commit(request)
  local state, shift_ms = request[6], request[7]
  for i = 2, 5 do
    if not is_integer(request[i], 0, LATEST) then return malformed('commit') end
  end
  if not is_integer(shift_ms, 0, LATEST) or not (state == 'scheduled' or state == 'open'
     or state == 'paused' or state == 'closed') or request[4] >= epoch
     or not are_closed_epochs(request[8] or {}) then
    return malformed('commit')
  end
  if redis.call('HLEN', keys[3]) - 1 ~= request[2]
     or redis.call('ZCARD', keys[5]) - 1 ~= request[3] then
    return answer('differs')
  end
  local names = redis.call('HMGET', keys[1], 'sale', 'number')
  local meta = {
    epoch = epoch, sequence = 0, sale = names[1], number = tonumber(names[2]), shift = 0,
  }
  local partition = unit_of_work(keys, meta, wall_clock(0))
  append_event(partition, 'recover', string.format(
    '"previous":{"epoch":%d,"sequence":%d},"shift_ms":%d,"restored":true',
    request[4], request[5], shift_ms))
  redis.call('XADD', keys[6], string.format('%d-1', epoch), 'event', partition.events[1])
  redis.call('HDEL', keys[1], 'restoring')
  store_closed_epochs(keys, request[8] or {})
  redis.call('HSET', keys[1], 'run_id', ARGV[1], 'epoch', text(epoch), 'sequence', '1',
    'state', state, 'last_time', text(partition.wall))
  return answer('restored')
end

local STAGES = {begin = begin, chunk = chunk, commit = commit}

local request = unpacked(ARGV[3] or '')
local stage = request and STAGES[request[1]]
if #keys ~= 6 or not is_integer(epoch, 2, LARGEST) or not is_text(ARGV[1], 64) or not stage then
  return malformed('caller')
end
if fenced then return fenced end
local seen = redis.pcall('HMGET', keys[1], 'epoch', 'run_id', 'restoring')
if seen.err then seen = {} end -- a key of another type is lost data too
local newest = math.max(tonumber(seen[1] or 0), tonumber(seen[3] or 0))
if newest > epoch then return answer('newer') end
if tonumber(seen[1] or 0) == epoch then
  return answer(seen[2] == ARGV[1] and 'already' or 'differs')
end
if request[1] ~= 'begin' and tonumber(seen[3] or 0) ~= epoch then return answer('not_begun') end
return stage(request)
