-- A reservation's way through its states, in memory; `flush` of partition.lua writes it.
local function record_of(partition, token)
  local record = partition.records[token]
  if record == nil then
    local packed = redis.call('HGET', partition.keys[3], token)
    record = packed and decode_record(packed) or false
    partition.records[token] = record
  end
  return record
end

local function buyer_of(partition, id)
  local buyer = partition.buyers[id]
  if not buyer then
    buyer = decode_buyer(redis.call('HGET', partition.keys[4], id))
    partition.buyers[id] = buyer
  end
  return buyer
end

local function item_of(partition, account)
  return partition.accounts[account][3]
end

local function forget_hold(buyer, token)
  for i, held in ipairs(buyer.holds) do
    if held == token then return table.remove(buyer.holds, i) end
  end
end

local function touch(partition, token, record)
  record.epoch, record.sequence = partition.meta.epoch, partition.meta.sequence
  partition.dirty_records[token] = true
end

-- Gives `lines` {account, quantity, ...} back to stock and to the buyer's limit.
local function release(partition, record, lines, from, to)
  local buyer = buyer_of(partition, record.buyer)
  partition.dirty_buyers[record.buyer] = true
  for i = 1, #lines, 2 do
    local item = item_of(partition, lines[i])
    move(partition, lines[i], lines[i + 1], from, to)
    buyer.counts[item] = (buyer.counts[item] or 0) - lines[i + 1]
  end
end

-- A hold is over: the record keeps its result for retries, the deadline and the hold list forget it.
local function resolve(partition, token, record, state)
  record.state = state
  partition.deadlines[token] = false
  forget_hold(buyer_of(partition, record.buyer), token)
  partition.dirty_buyers[record.buyer] = true
end

local function lines_json(partition, lines)
  local parts = {}
  for i = 1, #lines, 2 do
    local account = partition.accounts[lines[i]]
    parts[#parts + 1] = string.format(
      '{"sku":"%s","location":"%s","quantity":%d,"unit_price":%d}',
      account[1], account[2], lines[i + 1], partition.items[account[3]][2])
  end
  return '[' .. table.concat(parts, ',') .. ']'
end

local function reservation_json(partition, token, record, lines)
  return string.format('"reservation_id":"%s.%d.%s","buyer_id":%s,"lines":%s',
    partition.meta.sale, partition.meta.number, token, cjson.encode(record.buyer),
    lines_json(partition, lines or record.lines))
end

-- What a caller is told of a reservation: the stored array, its deadline on the wall clock. A hold
-- past its deadline is told as expired, swept or not.
local function view(partition, token, record)
  local due = record.state == HELD and record.deadline <= partition.now
  return {
    token, due and EXPIRED or record.state, record.epoch, record.sequence, record.accepted_epoch,
    record.accepted_sequence, record.deadline + partition.meta.shift, record.extended_ms,
    record.buyer, record.fingerprint, record.lines, record.payment_reference or '',
    record.returned or {},
  }
end
