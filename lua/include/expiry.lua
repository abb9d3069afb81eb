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

-- A deadline whose record is lost or damaged waits here, beyond every real deadline, for a repair
-- from the ledger: it holds up no other hold, and the reply of `expire` counts it.
local PARKED = LATEST

local function are_of(partition, lines)
  for i = 1, #lines, 2 do
    if not partition.accounts[lines[i]] or type(lines[i + 1]) ~= 'number' then return false end
  end
  return true
end

-- Returns the reservation, or nil where its record is lost or damaged.
local function usable_record(partition, token)
  local record = partition.records[token]
  if record == nil then
    record = unpacked(redis.call('HGET', partition.keys[3], token) or '')
    if record then partition.records[token] = record end
  end
  local is_usable = type(record) == 'table' and type(record[STATE]) == 'number'
    and type(record[DEADLINE]) == 'number' and type(record[BUYER]) == 'string'
    and type(record[LINES]) == 'table' and are_of(partition, record[LINES])
  return is_usable and record or nil
end

-- Moves the deadline of a hold that is not due after all to where its record has it.
local function set_deadline_right(partition, token, record)
  local deadline = record and (record[STATE] == HELD and record[DEADLINE] or false)
  partition.deadlines[token] = deadline == nil and PARKED or deadline
end

-- Expires at most `limit` due holds; returns the number expired.
local function expire_due(partition, limit)
  local tokens = redis.call('ZRANGEBYSCORE', partition.keys[5], '-inf',
    string.format('%d', partition.now), 'LIMIT', 0, limit)
  local expired = 0
  for _, token in ipairs(tokens) do
    if partition.deadlines[token] == nil then -- not resolved earlier in this call
      local record = usable_record(partition, token)
      if record and is_due(partition, record) then
        expire(partition, token, record)
        expired = expired + 1
      else
        set_deadline_right(partition, token, record)
      end
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
    local record = usable_record(partition, token)
    if record then expire_if_due(partition, token, record) end
  end
  return more
end

local function count_due(partition)
  return redis.call('ZCOUNT', partition.keys[5], '-inf', string.format('%d', partition.now))
end
