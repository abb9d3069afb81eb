-- How a reservation and a buyer are stored: short MessagePack arrays, one hash field each.
-- gateway/inventory/types.py decodes the same arrays (`Record`, `Buyer`); a test keeps them equal.
--
-- reservation: {state, epoch, sequence (of its last event), accepted_epoch, accepted_sequence,
--   deadline, extended_ms, buyer, fingerprint, lines {account, quantity, ...}, payment_reference,
--   returned {account, quantity, ...}, return_keys {key, ...}}; the last three only once they exist.
-- buyer: {counts {item, held + sold, ...}, tokens of own active holds {token, ...}}.
local function encode_record(record)
  local fields = {
    record.state, record.epoch, record.sequence, record.accepted_epoch, record.accepted_sequence,
    record.deadline, record.extended_ms, record.buyer, record.fingerprint, record.lines,
  }
  if record.payment_reference then
    fields[11] = record.payment_reference
    if record.returned then
      fields[12], fields[13] = record.returned, record.return_keys
    end
  end
  return cmsgpack.pack(fields)
end

local function decode_record(packed)
  local f = cmsgpack.unpack(packed)
  return {
    state = f[1], epoch = f[2], sequence = f[3], accepted_epoch = f[4], accepted_sequence = f[5],
    deadline = f[6], extended_ms = f[7], buyer = f[8], fingerprint = f[9], lines = f[10],
    payment_reference = f[11], returned = f[12], return_keys = f[13],
  }
end

-- nil when nothing is left to remember.
local function encode_buyer(buyer)
  local counts = {}
  for item, count in pairs(buyer.counts) do
    if count > 0 then
      counts[#counts + 1] = item
      counts[#counts + 1] = count
    end
  end
  if #counts == 0 and #buyer.holds == 0 then return nil end
  return cmsgpack.pack({counts, buyer.holds})
end

local function decode_buyer(packed)
  local buyer = {counts = {}, holds = {}}
  if packed then
    local fields = cmsgpack.unpack(packed)
    for i = 1, #fields[1], 2 do buyer.counts[fields[1][i]] = fields[1][i + 1] end
    buyer.holds = fields[2]
  end
  return buyer
end
