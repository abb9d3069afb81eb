-- Expiring due holds: their units return to stock, with one event for each hold.
local function expire(partition, token, record)
  append_event(partition, 'expire',
    reservation_json(partition, token, record[BUYER], record[LINES]))
  release(partition, record, record[LINES], 'held', 'available')
  resolve(partition, token, record, EXPIRED)
  touch(partition, token, record)
end

-- Every script calls this before it answers about a hold. Only events survive a crash of Redis, and
-- the partition's clock resumes at the last of them: without its event, an expiry that was answered
-- could be taken back.
local function expire_if_due(partition, token, record)
  if is_due(partition, record) then expire(partition, token, record) end
end

-- Expires at most `limit` due holds; returns the number expired.
local function expire_due(partition, limit)
  local tokens = redis.call('ZRANGEBYSCORE', partition.keys[5], '-inf',
    string.format('%d', partition.now), 'LIMIT', 0, limit)
  local expired = 0
  for _, token in ipairs(tokens) do
    local record = assert(record_of(partition, token), 'a deadline without its reservation')
    if is_due(partition, record) then
      expire(partition, token, record)
      expired = expired + 1
    end
  end
  return expired
end

-- Expires the buyer's own due holds, so that holds waiting for the sweeper do not count against the
-- buyer. Checks at most `limit` holds, oldest first; returns true when the buyer has more holds.
local function expire_due_of(partition, buyer, limit)
  local first = first_hold(buyer)
  local last = math.min(#buyer, first + limit - 1)
  local more = last < #buyer
  for _, token in ipairs({unpack(buyer, first, last)}) do
    local record = record_of(partition, token)
    if record then expire_if_due(partition, token, record) end
  end
  return more
end

local function count_due(partition)
  return redis.call('ZCOUNT', partition.keys[5], '-inf', string.format('%d', partition.now))
end
