-- reserve: (nothing) → held, for a batch of requests.
-- Guarantees: each request takes all its lines or none, never below the floor nor above the buyer's
-- limit, once per reservation id; an accepted request and its event are one step. In a sale with a
-- waiting room an accepted request spends the buyer's admission for good. Requests are decided in
-- order; each reply echoes its request's number. A refusal binds nothing, and writes nothing but
-- the expiry of due holds; a replay of a due hold takes the edge `expire` first.
-- KEYS    1-6 the partition (include/partition.lua)  7-8 with a rate limit: its buckets
-- ARGV    1 run_id  2 epoch
--         3 MessagePack {{number, token, buyer, fingerprint, {item, account or 0, quantity,
--         ...}, admission number or 0, the admission's expiry wall_ms, whether the request counts
--         towards the rate limit}, ...}
--         4 with a rate limit: MessagePack {requests, ms} (include/buckets.lua)
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {{number, outcome, detail ...}, ...}}; the
--         outcomes are those of gateway/inventory/outcomes.py. With a rate limit a list follows:
--         for each request, how many requests its buyer has left; -1 where it did not count.
-- @include status
-- @include arguments
-- @include record
-- @include partition
-- @include stock
-- @include reservation
-- @include expiry
-- @include placement
-- @include buckets

local MOST_REQUESTS, MOST_LINES, MOST_HOLDS_SHOWN, MOST_OWN_SWEPT = 512, 64, 8, 1000

-- Notes in `asked` the accounts that the lines name, or prefer, with their items.
local function check(partition, request, asked)
  if type(request) ~= 'table' or not is_integer(request[1], 0, 2 ^ 31)
     or not is_token(request[2]) or not is_text(request[3], 128) or not is_fingerprint(request[4])
     or not are_lines(request[5], MOST_LINES) or not is_integer(request[6], 0, LATEST)
     or not is_integer(request[7], 0, LATEST) or type(request[8]) ~= 'boolean' then
    return false
  end
  local lines = request[5]
  for i = 1, #lines, 3 do
    if lines[i] > partition.item_count then return false end
    local item = partition.items[lines[i]]
    local account = lines[i + 1] == 0 and item[6] or lines[i + 1]
    if account < item[6] or account >= item[6] + #item[7] then return false end
    asked[account] = lines[i]
  end
  return true
end

-- The items that the batch names, each once. The requests are not checked yet; no sale has more
-- than 1,000 items.
local function items_asked(requests)
  local numbers, seen = {}, {}
  for _, request in ipairs(requests) do
    local lines = type(request) == 'table' and type(request[5]) == 'table' and request[5] or {}
    for i = 1, #lines, 3 do
      local number = lines[i]
      if is_integer(number, 1, LARGEST) and not seen[number] then
        if #numbers == 1000 then return numbers end
        seen[number], numbers[#numbers + 1] = true, number
      end
    end
  end
  return numbers
end

-- Three HMGETs for the whole batch instead of several for each request. Of an account, only the
-- counters that a hold changes.
local function prefetch(partition, requests, asked)
  local tokens, buyers = {}, {}
  for i, request in ipairs(requests) do tokens[i], buyers[i] = request[2], request[3] end
  local records = redis.call('HMGET', partition.keys[3], unpack(tokens))
  local known = redis.call('HMGET', partition.keys[4], unpack(buyers))
  for i = 1, #requests do
    partition.records[tokens[i]] = records[i] and cmsgpack.unpack(records[i]) or false
    partition.buyers[buyers[i]] = known[i] and cmsgpack.unpack(known[i]) or {}
  end
  local indexes = {}
  for index, item in pairs(asked) do
    indexes[#indexes + 1] = account_at(partition, item, index - partition.items[item][6] + 1)
  end
  local counters = read_counters(partition, indexes, HOLD_FIELDS)
  for i, index in ipairs(indexes) do
    partition.stock[index] = {available = counters[2 * i - 1], held = counters[2 * i]}
  end
  if partition.buckets then fetch_buckets(partition.buckets, buyers) end
end

local function is_open(partition)
  local meta, now = partition.meta, partition.wall
  return meta.state == 'open' and now >= meta.opens_at
    and (meta.closes_at == 0 or now < meta.closes_at)
end

local function own_holds(partition, buyer)
  local shown = {}
  for i = math.max(first_hold(buyer), #buyer - MOST_HOLDS_SHOWN + 1), #buyer do
    local record = usable_record(partition, buyer[i])
    if record then shown[#shown + 1] = view(partition, buyer[i], record) end
  end
  return shown
end

local function over_limit(partition, buyer, lines, units)
  for i = 1, #lines, 3 do
    local item = lines[i]
    local limit = partition.items[item][3]
    local wanted = units and units[item] or lines[3]
    if count_of(buyer, item) + wanted > limit then return item, limit end
  end
  return nil
end

-- Expires the buyer's own due holds. Returns the ms for which the sale's cool-down refuses this
-- buyer a new hold, nil for none.
local function cooling_down(partition, buyer)
  if partition.rules[3] == 0 or #buyer == 0 then return nil end
  expire_due_of(partition, buyer, MOST_OWN_SWEPT)
  local wait_ms = count_of(buyer, COOLS_UNTIL) - partition.now
  return wait_ms > 0 and wait_ms or nil
end

-- Whether the buyer has reached the sale's limit of unpaid reservations (held, or given back not
-- long ago), each of which occupies a record.
local function too_many_unpaid(partition, buyer)
  if #buyer == 0 then return false end
  local holds = #buyer - first_hold(buyer) + 1
  return unpaid_of(partition, buyer) + holds >= partition.unpaid_per_buyer
end

-- Returns why the admission is refused, or nil. An admission ends on Redis' clock, so that a token
-- does not outlive its slot.
local function unadmitted(partition, buyer, request)
  if not partition.waiting_room then return nil end
  if request[6] == 0 then return 'missing' end
  if request[6] <= count_of(buyer, ADMISSION) then return 'spent' end
  if request[7] <= partition.wall then return 'expired' end
  return nil
end

-- `lines`: triples {item, account or 0, quantity}, as requested; `placed`: {account, quantity,
-- ...}.
local function hold(partition, request, lines, placed)
  local meta, token, buyer_id, fingerprint = partition.meta, request[2], request[3], request[4]
  local deadline = partition.now + meta.hold_ms
  local admission = partition.waiting_room and request[6] or nil
  append_event(partition, 'reserve', reservation_json(partition, token, buyer_id, placed)
    .. ',"fingerprint":"' .. fingerprint .. '","deadline":'
    .. string.format('%d', deadline + meta.shift)
    .. (admission and string.format(',"admission":%d', admission) or ''))
  for i = 1, #placed, 2 do move(partition, placed[i], placed[i + 1], 'available', 'held') end
  local buyer = buyer_of(partition, buyer_id)
  for i = 1, #lines, 3 do add_count(buyer, lines[i], lines[i + 2]) end
  if admission then set_number(buyer, ADMISSION, admission) end
  buyer[#buyer + 1] = token
  partition.changed_buyers[buyer_id] = true
  local record = {
    HELD, meta.epoch, meta.sequence, meta.epoch, meta.sequence, deadline, 0, buyer_id, fingerprint,
    placed,
  }
  partition.records[token] = record
  partition.deadlines[token] = deadline
  touch(partition, token, record)
  return record
end

-- Where stock is short, due holds are expired first, so that nobody is refused a unit that only
-- waits for the sweeper.
local function place_or_sweep(partition, lines, units)
  local placed, short = place(partition, lines, units)
  if placed or partition.swept then return placed, short end
  partition.swept = true
  expire_due(partition, partition.meta.sweep_bound)
  partition.still_due = count_due(partition) > partition.meta.sweep_bound
  return place(partition, lines, units)
end

local function paused_item(partition, lines)
  for i = 1, #lines, 3 do
    if partition.items[lines[i]][5] then return lines[i] end
  end
  return nil
end

local function decide(partition, request)
  local number, token, buyer_id = request[1], request[2], request[3]
  local buckets = partition.buckets
  if buckets then buckets.left = -1 end
  local record = record_of(partition, token)
  if record then
    if record[BUYER] ~= buyer_id or record[FINGERPRINT] ~= request[4] then
      return {number, 'key_reused'}
    end
    expire_if_due(partition, token, record)
    return {number, 'replayed', view(partition, token, record)}
  end
  if buckets and request[8] then
    local wait_ms = take_from_bucket(buckets, buyer_id)
    if wait_ms then return {number, 'rate_limited', wait_ms} end
  end
  local buyer = buyer_of(partition, buyer_id)
  local wait_ms = cooling_down(partition, buyer)
  if wait_ms then
    return {number, 'cooling_down', wait_ms, count_of(buyer, GIVEN_BACK)}
  end
  if not is_open(partition) then return {number, 'not_open', partition.meta.state} end
  if is_behind(partition) then return {number, 'ledger_behind'} end
  local lines, units = summed(request[5])
  local paused = paused_item(partition, lines)
  if paused then return {number, 'not_open', 'item_paused', paused} end
  local reason = unadmitted(partition, buyer, request)
  if reason then return {number, 'not_admitted', reason} end
  if too_many_unpaid(partition, buyer) then
    return {number, 'limit_exceeded', 0, partition.unpaid_per_buyer, own_holds(partition, buyer)}
  end
  if over_limit(partition, buyer, lines, units) then
    local more = expire_due_of(partition, buyer, MOST_OWN_SWEPT)
    local item, limit = over_limit(partition, buyer, lines, units)
    if item and more and count_due(partition) > 0 then return {number, 'overloaded'} end
    if item then return {number, 'limit_exceeded', item, limit, own_holds(partition, buyer)} end
  end
  local placed, short = place_or_sweep(partition, lines, units)
  if not placed then
    if partition.still_due then return {number, 'overloaded'} end
    return {number, 'sold_out', short, own_holds(partition, buyer)}
  end
  record = hold(partition, request, lines, placed)
  return {number, 'accepted', view(partition, token, record)}
end

local requests = unpacked(ARGV[3] or '')
local items = items_asked(requests or {})
local partition, refusal = open_partition({unpack(KEYS, 1, 6)}, ARGV[1], ARGV[2], items)
if not partition then return refusal end
if not requests or #requests == 0 or #requests > MOST_REQUESTS then
  return malformed('requests')
end
local asked = {}
for _, request in ipairs(requests) do
  if not check(partition, request, asked) then return malformed('request') end
end
if not partition.whole_catalog then read_items(partition, items) end
if #KEYS > 6 or ARGV[4] then
  partition.buckets = open_buckets({unpack(KEYS, 7)}, ARGV[4] or '', partition.wall)
  if not partition.buckets then return malformed('rate limit') end
end
prefetch(partition, requests, asked)
local results, remaining = {}, partition.buckets and {} or nil
for i, request in ipairs(requests) do
  results[i] = decide(partition, request)
  if remaining then remaining[i] = partition.buckets.left end
end
flush(partition)
if partition.buckets then flush_buckets(partition.buckets) end
return reply(partition, results, remaining)
