-- The steps of a reservation from state to state, in memory; `flush` of partition.lua writes them.
local function record_of(partition, token)
  local record = partition.records[token]
  if record == nil then
    local packed = redis.call('HGET', partition.keys[3], token)
    record = packed and cmsgpack.unpack(packed) or false
    partition.records[token] = record
  end
  return record
end

local function buyer_of(partition, id)
  local buyer = partition.buyers[id]
  if not buyer then
    local packed = redis.call('HGET', partition.keys[4], id)
    buyer = packed and cmsgpack.unpack(packed) or {}
    partition.buyers[id] = buyer
  end
  return buyer
end

local function item_of(partition, account)
  return partition.accounts[account][3]
end

-- Stamps the record with the number of the event just appended. A record changed twice in one call
-- is listed twice, with its later value last; HSET keeps the last value.
local function touch(partition, token, record)
  record[EPOCH], record[SEQUENCE] = partition.meta.epoch, partition.meta.sequence
  local fields = partition.record_fields
  fields[#fields + 1] = token
  fields[#fields + 1] = cmsgpack.pack(record)
end

-- Returns the units of `lines` to stock and to the buyer's limit.
local function release(partition, record, lines, from, to)
  local buyer = buyer_of(partition, record[BUYER])
  partition.changed_buyers[record[BUYER]] = true
  for i = 1, #lines, 2 do
    move(partition, lines[i], lines[i + 1], from, to)
    add_count(buyer, item_of(partition, lines[i]), -lines[i + 1])
  end
end

-- Counts a reservation that was given back unpaid. Where the sale has a cool-down, each reservation
-- given back beyond the allowance doubles the buyer's wait.
local function count_given_back(partition, buyer, at)
  local given_back = count_of(buyer, GIVEN_BACK) + 1
  set_number(buyer, GIVEN_BACK, given_back)
  local after, first_ms, most_ms = unpack(partition.rules, 3, 5)
  if after > 0 and given_back >= after then
    local wait_ms = math.min(first_ms * 2 ^ math.min(given_back - after, 20), most_ms)
    set_number(buyer, COOLS_UNTIL, math.max(at + wait_ms, count_of(buyer, COOLS_UNTIL)))
  end
end

-- The number of the time window of `unpaid_per_buyer`; 0 where the whole sale is one window.
local function unpaid_window(partition, wall)
  local window_ms = partition.rules[6] or 0 -- nil: of an earlier release
  return window_ms > 0 and math.floor(wall / window_ms) or 0
end

-- Counts a reservation given back at this instant against `unpaid_per_buyer`. The numbers follow
-- from the set of what was given back, in whatever order it is counted.
local function count_unpaid(partition, buyer, wall)
  local window, known = unpaid_window(partition, wall), count_of(buyer, UNPAID_WINDOW)
  if window > known then
    set_number(buyer, UNPAID_WINDOW, window)
    set_number(buyer, UNPAID, 1)
  elseif window == known and window > 0 then
    set_number(buyer, UNPAID, count_of(buyer, UNPAID) + 1)
  end
end

-- How many reservations that the buyer gave back still count.
local function unpaid_of(partition, buyer)
  local window = unpaid_window(partition, partition.wall)
  if window == 0 then return count_of(buyer, GIVEN_BACK) end
  return window <= count_of(buyer, UNPAID_WINDOW) and count_of(buyer, UNPAID) or 0
end

-- Ends a hold: the record keeps its result for retries; its entries among the deadlines and in the
-- buyer's array are removed. The record's deadline stays as it was last answered, on the wall
-- clock: later outages move the deadlines of holds only.
local function resolve(partition, token, record, state)
  record[STATE] = state
  partition.deadlines[token] = false
  local buyer = buyer_of(partition, record[BUYER])
  forget_hold(buyer, token)
  if state ~= CONFIRMED then
    local at = state == EXPIRED and record[DEADLINE] or partition.now
    count_given_back(partition, buyer, at)
    count_unpaid(partition, buyer, partition.wall)
  end
  partition.changed_buyers[record[BUYER]] = true
  record[DEADLINE] = record[DEADLINE] + partition.meta.shift
end

-- Batches repeat a few (account, quantity) pairs, so each pair is formatted once.
local function line_json(partition, account, quantity)
  local texts = partition.line_texts[account]
  if not texts then
    texts = {}
    partition.line_texts[account] = texts
  end
  if not texts[quantity] then
    local known = partition.accounts[account]
    texts[quantity] = string.format('{"sku":"%s","location":"%s","quantity":%d,"unit_price":%d}',
      known[1], known[2], quantity, partition.items[known[3]][2])
  end
  return texts[quantity]
end

local function lines_json(partition, lines)
  if #lines == 2 then return '[' .. line_json(partition, lines[1], lines[2]) .. ']' end
  local parts = {}
  for i = 1, #lines, 2 do
    parts[#parts + 1] = line_json(partition, lines[i], lines[i + 1])
  end
  return '[' .. table.concat(parts, ',') .. ']'
end

local function reservation_json(partition, token, buyer_id, lines)
  return partition.id_start .. token .. '","buyer_id":' .. cjson.encode(buyer_id)
    .. ',"lines":' .. lines_json(partition, lines)
end

local function is_due(partition, record)
  return record[STATE] == HELD and record[DEADLINE] <= partition.now
end

-- A reservation as scripts return it: the stored array behind its token, with the deadline on the
-- wall clock. The state is always that of the last event, see `expire_if_due`.
local function view(partition, token, record)
  local shift = record[STATE] == HELD and partition.meta.shift or 0
  return {
    token, record[STATE], record[EPOCH], record[SEQUENCE], record[ACCEPTED_EPOCH],
    record[ACCEPTED_SEQUENCE],
    record[DEADLINE] + shift, record[EXTENDED_MS], record[BUYER],
    record[FINGERPRINT], record[LINES], record[PAYMENT_REFERENCE], record[RETURNED],
  }
end
