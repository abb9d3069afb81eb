-- reserve: (nothing) → held, for a batch of requests.
-- Guarantees: each request takes all its lines or none, never below the floor nor above the buyer's
-- limit, once per reservation id; an accepted one and its event are one step. Requests are decided
-- in order; each reply echoes its request's number. A refusal writes nothing and binds nothing.
-- KEYS    1-6 the partition (include/partition.lua)
-- ARGV    1 run_id  2 epoch
--         3 MessagePack {{number, token, buyer, fingerprint, {item, account or 0, quantity, ...}}, ...}
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {{number, outcome, detail ...}, ...}}; the
--         outcomes are those of gateway/inventory/outcomes.py.
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include stock
-- @include reservation
-- @include expiry
-- @include placement

local MOST_REQUESTS, MOST_LINES, MOST_HOLDS_SHOWN = 512, 64, 8

local function check(partition, request)
  if type(request) ~= 'table' or not is_integer(request[1], 0, 2 ^ 31)
     or not is_token(request[2]) or not is_text(request[3], 128) or not is_fingerprint(request[4])
     or not are_lines(request[5], MOST_LINES) then
    return false
  end
  local lines = request[5]
  for i = 1, #lines, 3 do
    local account = partition.accounts[lines[i + 1]]
    if not partition.items[lines[i]] then return false end
    if lines[i + 1] ~= 0 and not (account and account[3] == lines[i]) then return false end
  end
  return true
end

-- One round trip inside the server for the whole batch instead of two for each request.
local function prefetch(partition, requests)
  local tokens, buyers = {}, {}
  for i, request in ipairs(requests) do tokens[i], buyers[i] = request[2], request[3] end
  local records = redis.call('HMGET', partition.keys[3], unpack(tokens))
  local known = redis.call('HMGET', partition.keys[4], unpack(buyers))
  for i, request in ipairs(requests) do
    partition.records[request[2]] = records[i] and decode_record(records[i]) or false
    partition.buyers[request[3]] = decode_buyer(known[i])
  end
end

local function is_open(partition)
  local meta, now = partition.meta, partition.wall
  return meta.state == 'open' and now >= meta.opens_at
    and (meta.closes_at == 0 or now < meta.closes_at)
end

local function own_holds(partition, buyer)
  local shown = {}
  for i = math.max(1, #buyer.holds - MOST_HOLDS_SHOWN + 1), #buyer.holds do
    local record = record_of(partition, buyer.holds[i])
    if record and record.state == HELD then
      shown[#shown + 1] = view(partition, buyer.holds[i], record)
    end
  end
  return shown
end

local function over_limit(partition, buyer, by_item)
  for item, quantity in pairs(by_item) do
    local limit = partition.items[item][3]
    if (buyer.counts[item] or 0) + quantity > limit then return item, limit end
  end
  return nil
end

local function hold(partition, token, buyer_id, fingerprint, lines)
  local meta = partition.meta
  local record = {
    state = HELD, deadline = partition.now + meta.hold_ms, extended_ms = 0, buyer = buyer_id,
    fingerprint = fingerprint, lines = lines,
  }
  append_event(partition, 'reserve', string.format(
    '%s,"fingerprint":"%s","deadline":%.0f', reservation_json(partition, token, record),
    fingerprint, record.deadline + meta.shift))
  local buyer = buyer_of(partition, buyer_id)
  for i = 1, #lines, 2 do
    local item = item_of(partition, lines[i])
    move(partition, lines[i], lines[i + 1], 'available', 'held')
    buyer.counts[item] = (buyer.counts[item] or 0) + lines[i + 1]
  end
  buyer.holds[#buyer.holds + 1] = token
  partition.dirty_buyers[buyer_id] = true
  record.accepted_epoch, record.accepted_sequence = meta.epoch, meta.sequence
  partition.records[token] = record
  partition.deadlines[token] = record.deadline
  touch(partition, token, record)
  return record
end

-- Short of stock: due holds go first, so that nobody is refused a unit that only waits for the sweeper.
local function place_or_sweep(partition, by_item, lines)
  local placed, short = place(partition, by_item, lines)
  if placed then return placed end
  if not partition.swept then
    partition.swept = true
    expire_due(partition, partition.meta.sweep_bound)
    partition.still_due = count_due(partition) > partition.meta.sweep_bound
    placed, short = place(partition, by_item, lines)
  end
  return placed, short
end

local function decide(partition, request)
  local number, token, buyer_id, fingerprint = request[1], request[2], request[3], request[4]
  local record = record_of(partition, token)
  if record then
    if record.buyer ~= buyer_id or record.fingerprint ~= fingerprint then
      return {number, 'key_reused'}
    end
    return {number, 'replayed', view(partition, token, record)}
  end
  if not is_open(partition) then return {number, 'not_open', partition.meta.state} end
  if is_behind(partition) then return {number, 'ledger_behind'} end
  local by_item, lines = summed(request[5])
  for item in pairs(by_item) do
    if partition.items[item][5] then return {number, 'not_open', 'item_paused', item} end
  end
  local buyer = buyer_of(partition, buyer_id)
  local item, limit = over_limit(partition, buyer, by_item)
  if item then
    expire_due_of(partition, buyer)
    item, limit = over_limit(partition, buyer, by_item)
    if item then
      return {number, 'limit_exceeded', item, limit, own_holds(partition, buyer)}
    end
  end
  local placed, short = place_or_sweep(partition, by_item, lines)
  if not placed then
    if partition.still_due then return {number, 'overloaded'} end
    return {number, 'sold_out', short, own_holds(partition, buyer)}
  end
  record = hold(partition, token, buyer_id, fingerprint, placed)
  return {number, 'accepted', view(partition, token, record)}
end

local partition, refusal = open_partition(KEYS, ARGV[1], ARGV[2])
if not partition then return refusal end
local requests = unpacked(ARGV[3] or '')
if not requests or #requests == 0 or #requests > MOST_REQUESTS then
  return malformed('requests')
end
for _, request in ipairs(requests) do
  if not check(partition, request) then return malformed('request') end
end
prefetch(partition, requests)
local results = {}
for i, request in ipairs(requests) do results[i] = decide(partition, request) end
flush(partition)
return reply(partition, results)
