-- Checks of a reservation record rebuilt from the ledger, made before the record is stored. Needs
-- `status`, `arguments` and `record`.
local function are_settled(lines, accounts)
  if type(lines) ~= 'table' then return false end
  for i = 1, #lines, 2 do
    if not accounts[lines[i]] or not is_integer(lines[i + 1], 1, LARGEST) then return false end
  end
  return true
end

local function is_record(record, accounts)
  if type(record) ~= 'table' then return false end
  for i = STATE, EXTENDED_MS do
    if not is_integer(record[i], 0, LATEST) then return false end
  end
  local paid, returned, extended = record[PAYMENT_REFERENCE], record[RETURNED], record[EXTEND_KEYS]
  return record[STATE] >= HELD and record[STATE] <= EXPIRED and is_text(record[BUYER], 128)
    and is_fingerprint(record[FINGERPRINT]) and are_settled(record[LINES], accounts)
    and (paid == nil or is_text(paid, 255) or paid == '' and extended ~= nil)
    and (extended == nil or type(extended) == 'table')
    and (returned == nil
         or are_settled(returned, accounts) and type(record[RETURN_KEYS]) == 'table')
end
