-- Due holds return to stock, one event each.
local function expire(partition, token, record)
  append_event(partition, 'expire',
    reservation_json(partition, token, record[BUYER], record[LINES]))
  release(partition, record, record[LINES], 'held', 'available')
  resolve(partition, token, record, EXPIRED)
  touch(partition, token, record)
end

-- At most `limit` in one call; returns how many were expired.
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

-- A buyer is not kept from buying by own holds that only wait for the sweeper. Looks at `limit` of
-- them, oldest first; true where there are more.
local function expire_due_of(partition, buyer, limit)
  local first = first_hold(buyer)
  local last = math.min(#buyer, first + limit - 1)
  local more = last < #buyer
  for _, token in ipairs({unpack(buyer, first, last)}) do
    local record = record_of(partition, token)
    if record and is_due(partition, record) then expire(partition, token, record) end
  end
  return more
end

local function count_due(partition)
  return redis.call('ZCOUNT', partition.keys[5], '-inf', string.format('%d', partition.now))
end
