-- One reservation, whole: idempotency, limit, stock, hold, event.
-- KEYS    1 stock  2 owned  3 records  4 deadlines  5 outbox
-- ARGV    1 reservation  2 buyer  3 key  4 sku  5 quantity  6 limit  7 deadline, ms
-- RETURNS accepted | replayed | limit_exceeded | sold_out
local token, buyer, quantity = ARGV[1], ARGV[2], tonumber(ARGV[5])
if redis.call('HEXISTS', KEYS[3], token) == 1 then return 'replayed' end
local owned = tonumber(redis.call('HGET', KEYS[2], buyer) or '0')
if owned + quantity > tonumber(ARGV[6]) then return 'limit_exceeded' end
if tonumber(redis.call('GET', KEYS[1])) < quantity then return 'sold_out' end
local record = '{"reservation_id":"' .. token .. '","buyer_id":"' .. buyer .. '","key":"' .. ARGV[3]
  .. '","sku":"' .. ARGV[4] .. '","quantity":' .. ARGV[5] .. ',"deadline":' .. ARGV[7] .. '}'
redis.call('XADD', KEYS[5], '*', 'event', record)
redis.call('DECRBY', KEYS[1], quantity)
redis.call('HSET', KEYS[2], buyer, owned + quantity)
redis.call('HSET', KEYS[3], token, record)
redis.call('ZADD', KEYS[4], ARGV[7], token)
return 'accepted'
