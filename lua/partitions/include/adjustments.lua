-- The keys of adjustments that a partition has made, so that a repeated call adjusts once. Field
-- `adjustments` of meta, oldest first: flat {"key:fingerprint", sequence of the event, wall_ms,
-- ...}; absent before the first key. Needs `partition`.
local MOST_KEYS = 1000 -- keys that are kept; in their first day no key makes room for another
local KEY_KEPT_MS = 24 * 60 * 60 * 1000

local function adjustments_of(partition)
  local packed = redis.call('HGET', partition.keys[1], 'adjustments')
  return packed and cmsgpack.unpack(packed) or {}
end

-- Returns nothing for a new key; else 'replayed' and the sequence of its event, or 'key_reused'.
local function adjusted_before(made, key, fingerprint)
  for i = 1, #made, 3 do
    if made[i] == key .. ':' .. fingerprint then return 'replayed', made[i + 1] end
    if made[i]:sub(1, #key) == key then return 'key_reused' end
  end
end

-- Drops the oldest keys beyond the bound. Returns false where all keys are from the last day.
local function make_room(made, wall)
  while #made >= 3 * MOST_KEYS do
    if made[3] + KEY_KEPT_MS > wall then return false end
    for _ = 1, 3 do table.remove(made, 1) end
  end
  return true
end

local function store_adjustments(keys, made)
  redis.call('HSET', keys[1], 'adjustments', cmsgpack.pack(made))
end
