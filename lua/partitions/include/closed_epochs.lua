-- What the partition remembers of epochs that the ledger has closed: field `closed_epochs` of meta,
-- {{epoch, last sequence, fingerprint of the last event in hex, next epoch}, ...}, oldest first;
-- absent in the first epoch. A ledger that comes back older than the partition gets its closed
-- epochs from here.
local MOST_CLOSED = 64

local function are_closed_epochs(closed)
  if type(closed) ~= 'table' or #closed > MOST_CLOSED then return false end
  for _, one in ipairs(closed) do
    if type(one) ~= 'table' or not is_integer(one[1], 1, LARGEST)
       or not is_integer(one[2], 0, LATEST) or not is_word(one[3], 0, 32)
       or not is_integer(one[4], one[1] + 1, LARGEST) then
      return false
    end
  end
  return true
end

local function store_closed_epochs(keys, closed)
  if #closed == 0 then return end
  redis.call('HSET', keys[1], 'closed_epochs', cmsgpack.pack(closed))
end
