-- recover: (epoch e, a server run nobody trusts) → epoch e + k, the current server run.
-- Guarantees: only where the partition's last event is exactly the event with which the ledger
-- closed the epoch. The partition's clock stands still for the outage, so every hold keeps the time
-- it had left. An epoch is recovered once, however often the call is repeated.
-- KEYS    1-6 the partition (include/partition.lua)  7 optional: the ledger that counts
-- ARGV    1 run_id of the current server  2 the new epoch
--         3 MessagePack {closed epoch, closed sequence, alive_at wall_ms, closed epochs
--         (include/closed_epochs.lua; default: none)}
--         4 with key 7: the ledger that says so (include/counting_ledger.lua)
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {"recovered" | "already" |
--         "differs" | "newer"}}, or {"ledger_fenced", the ledger that counts}
-- @include arguments
-- @include record
-- @include partition
-- @include counting_ledger
-- @include closed_epochs

local keys, fenced = keys_by_word(KEYS, ARGV[4])
if fenced then return fenced end
local ok, partition, missing = pcall(read_partition, keys)
if not ok or not partition then
  return cmsgpack.pack({'recovering', ok and missing or 'a key has another type'})
end
local request, epoch = unpacked(ARGV[3] or ''), natural(ARGV[2])
if not request or not is_integer(epoch, 2, LARGEST) or not is_text(ARGV[1], 64)
   or not is_integer(request[1], 1, epoch - 1) or not is_integer(request[2], 0, LATEST)
   or not is_integer(request[3], 0, LATEST) or not are_closed_epochs(request[4] or {}) then
  return malformed('request')
end
local meta = partition.meta
if meta.epoch == epoch then
  return reply(partition, {meta.run_id == ARGV[1] and 'already' or 'differs'})
end
if meta.epoch > epoch then return reply(partition, {'newer'}) end
local last = redis.call('XREVRANGE', KEYS[6], '+', '-', 'COUNT', 1)[1][1]
local closed = string.format('%d-%d', request[1], request[2])
if meta.epoch ~= request[1] or meta.sequence ~= request[2] or last ~= closed then
  return reply(partition, {'differs'})
end

local outage = math.max(0, partition.wall - math.max(request[3], meta.last_time))
meta.epoch, meta.sequence = epoch, 0
frame_events(partition)
append_event(partition, 'recover', string.format(
  '"previous":{"epoch":%d,"sequence":%d},"shift_ms":%.0f,"restored":false',
  request[1], request[2], outage))
flush(partition)
meta.shift = meta.shift + outage
redis.call('HSET', KEYS[1], 'run_id', ARGV[1], 'epoch', string.format('%.0f', epoch),
  'shift', string.format('%.0f', meta.shift), 'ledger_sequence', '0')
store_closed_epochs(keys, request[4] or {})
return reply(partition, {'recovered'})
