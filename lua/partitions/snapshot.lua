-- snapshot: reads the counters of one partition together with their (epoch, sequence), in one step.
-- Guarantees: writes nothing; needs no fence, since the caller compares the reply. The reply
-- decides whether a partition is lost, so the script checks all of it: every key's type, every
-- counter.
-- KEYS    1-6 the partition (include/partition.lua)
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {sequence, state, run_id, ledger_sequence,
--         outbox length, due holds, reservations, {{sku, location, loaded, adjusted, transferred,
--         in_transit, available, held, sold}, ...}, {paused sku, ...}}} or {"recovering", what}
-- @include record
-- @include partition
-- @include stock

local KINDS = {'hash', 'hash', 'hash', 'hash', 'zset', 'stream'}

local function counters_of(partition)
  local accounts = {}
  for index, account in ipairs(partition.accounts) do
    local c = stock_of(partition, index)
    accounts[index] = {
      account[1], account[2], c.loaded, c.adjusted, c.transferred, c.in_transit, c.available,
      c.held, c.sold,
    }
  end
  return accounts
end

local ok, partition, missing = pcall(read_partition, KEYS)
if not ok or not partition then
  return cmsgpack.pack({'recovering', ok and missing or 'a key has another type'})
end
for i, kind in ipairs(KINDS) do
  if redis.call('TYPE', KEYS[i]).ok ~= kind then
    return cmsgpack.pack({'recovering', 'a ' .. kind})
  end
end
local whole, accounts = pcall(counters_of, partition)
if not whole then return cmsgpack.pack({'recovering', 'a counter'}) end
local meta, paused = partition.meta, {}
for _, item in ipairs(partition.items) do
  if item[5] then paused[#paused + 1] = item[1] end
end
local due = redis.call('ZCOUNT', KEYS[5], '-inf', string.format('%.0f', partition.now))
return reply(partition, {
  meta.sequence, meta.state, meta.run_id, meta.ledger_sequence, redis.call('XLEN', KEYS[6]), due,
  redis.call('HLEN', KEYS[3]) - 1, accounts, paused,
})
