-- The rate limit per buyer (GCRA): one number per buyer, the instant (us) at which the buyer's
-- bucket is full again. A buyer without a field has a full bucket. Two hashes take turns; a turn is
-- as long as an empty bucket takes to fill. Numbers written before the last turn describe full
-- buckets, so the older hash is dropped whole at each turn, and both hashes expire when nobody
-- asks. Needs `arguments`. No event records the rate limit.
local TURN = '' -- the field that holds the number of the turn its hash belongs to
local LONGEST_WINDOW = 86400000 -- ms

-- `packed`: {requests a full bucket holds, ms an empty bucket takes to fill}. Returns the buckets,
-- or nil where the limit is malformed.
local function open_buckets(keys, packed, wall)
  local limit = unpacked(packed)
  if not limit or #keys ~= 2 or not is_integer(limit[2], 1, LONGEST_WINDOW)
     or not is_integer(limit[1], 1, limit[2] * 1000) then
    return nil
  end
  local turn, interval = math.floor(wall / limit[2]), math.floor(limit[2] * 1000 / limit[1])
  return {
    turn = turn, now = wall * 1000, window_ms = limit[2], interval = interval,
    capacity = interval * limit[1], full_at = {}, changed = {},
    current = keys[turn % 2 + 1], last = keys[(turn + 1) % 2 + 1],
  }
end

local function read_turn(buckets, key, turn, buyers)
  local values = redis.call('HMGET', key, TURN, unpack(buyers))
  if values[1] ~= string.format('%d', turn) then return false end
  for i, buyer in ipairs(buyers) do
    local full_at = tonumber(values[i + 1] or nil)
    -- After a clock was set back, nobody waits for longer than an empty bucket takes to fill.
    if full_at then buckets.full_at[buyer] = math.min(full_at, buckets.now + buckets.capacity) end
  end
  return true
end

local function fetch_buckets(buckets, buyers)
  read_turn(buckets, buckets.last, buckets.turn - 1, buyers)
  buckets.is_current = read_turn(buckets, buckets.current, buckets.turn, buyers)
end

-- Takes one request from the buyer's bucket and sets `left`, the requests that remain. Returns nil
-- when the request was taken, else the ms until the bucket has one again.
local function take_from_bucket(buckets, buyer)
  local full_at = math.max(buckets.full_at[buyer] or 0, buckets.now) + buckets.interval
  local room = buckets.now + buckets.capacity - full_at
  buckets.left = math.max(0, math.floor(room / buckets.interval))
  if room < 0 then return math.ceil(-room / 1000) end
  buckets.full_at[buyer] = full_at
  buckets.changed[buyer] = true
  return nil
end

-- Called after all other writes. With full memory HSET fails here, and answers without a write,
-- such as replays, must still be given. Nobody takes a unit while memory is full, so the buyers
-- whose requests are not counted then gain nothing.
local function flush_buckets(buckets)
  local fields = {}
  for buyer in pairs(buckets.changed) do
    fields[#fields + 1] = buyer
    fields[#fields + 1] = string.format('%d', buckets.full_at[buyer])
  end
  if #fields == 0 then return end
  if not buckets.is_current then
    redis.call('UNLINK', buckets.current)
    fields[#fields + 1] = TURN
    fields[#fields + 1] = string.format('%d', buckets.turn)
  end
  for from = 1, #fields, 1000 do
    local written = redis.pcall('HSET', buckets.current,
      unpack(fields, from, math.min(from + 999, #fields)))
    if type(written) == 'table' and written.err then return end
  end
  if not buckets.is_current then
    redis.call('PEXPIRE', buckets.current, 3 * buckets.window_ms)
  end
end
