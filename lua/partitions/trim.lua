-- trim: stores how far the ledger is, and drops the events that the ledger has.
-- Guarantees: the event at the ledger's watermark and all later events stay, so the ledger's last
-- event can always be compared; so do events that a relay or a waiting room has yet to read. The
-- watermark never goes back: the partition remembers how far the ledger was. For a ledger that came
-- back older nothing is dropped; the reply shows it.
-- KEYS    1-6 the partition (include/partition.lua)  7 optional: the ledger that counts
-- ARGV    1 run_id  2 epoch  3 ledger sequence within this epoch
--         4 stream id: events from this id on stay, also below the watermark; default: the
--         watermark  5 with key 7: the ledger that says so (include/counting_ledger.lua)
-- RETURNS MessagePack {"ok", epoch, wall_ms, shift_ms, {events trimmed, ledger sequence}},
--         or {"ledger_fenced", the ledger that counts}
-- @include arguments
-- @include record
-- @include partition
-- @include counting_ledger

local keys, fenced = keys_by_word(KEYS, ARGV[5])
if fenced then return fenced end
local partition, refusal = open_partition(keys, ARGV[1], ARGV[2])
if not partition then return refusal end
local watermark = natural(ARGV[3])
if not is_integer(watermark, 0, partition.meta.sequence) then return malformed('watermark') end
local first = string.format('%d-%d', partition.meta.epoch, watermark)
if ARGV[4] then
  local epoch, sequence = ARGV[4]:match('^(%d+)%-(%d+)$')
  epoch, sequence = natural(epoch), natural(sequence)
  if not (is_integer(epoch, 0, LATEST) and is_integer(sequence, 0, LATEST)) then
    return malformed('kept')
  end
  local current = partition.meta.epoch
  if epoch < current or epoch == current and sequence < watermark then first = ARGV[4] end
end
local known = partition.meta.ledger_sequence
if watermark < known then return reply(partition, {0, known}) end
-- XTRIM before HSET: Redis allows XTRIM with full memory, and then also allows the HSET after it.
local trimmed = redis.call('XTRIM', KEYS[6], 'MINID', first)
redis.call('HSET', KEYS[1], 'ledger_sequence', string.format('%.0f', watermark))
return reply(partition, {trimmed, watermark})
