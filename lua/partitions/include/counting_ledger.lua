-- Whether the ledger by whose word a script acts is the ledger that counts (leases/claim.lua). The
-- step of the change itself asks: a caller that was frozen before it changes nothing.

-- `keys`: those of the partition, and then the key of the ledger that counts where the caller
-- names its ledger.
-- Returns the partition's keys, and the packed refusal or nil.
local function keys_by_word(keys, ledger)
  if #keys ~= 7 then return keys end
  local own, counts = {unpack(keys, 1, 6)}, redis.pcall('GET', keys[7])
  if ledger and counts == ledger then return own end
  return own, cmsgpack.pack({'ledger_fenced', type(counts) == 'string' and counts or ''})
end
