-- The body of a `repair` event: every changed value before and after, as text, so that a repair
-- loses no information.
local LONGEST_VALUE = 4096 -- bytes
local RECORD_FIELDS = {
  'state', 'epoch', 'sequence', 'accepted_epoch', 'accepted_sequence', 'deadline', 'extended_ms',
  'buyer_id', 'fingerprint', 'lines', 'payment_reference', 'returned', 'return_keys',
  'extend_keys',
}

-- Returns nil where there is no value. A damaged `before` may be anything that MessagePack decodes.
local function value_text(value)
  if not value then return nil end
  if type(value) == 'number' then return string.format('%.14g', value) end
  if type(value) == 'table' then
    local parts = {}
    for i, part in ipairs(value) do
      if type(part) ~= 'number' and type(part) ~= 'string' then return 'unreadable' end
      parts[i] = part
    end
    return value_text(table.concat(parts, ' '))
  end
  return (value == '' or is_text(value, LONGEST_VALUE)) and value or 'unreadable'
end

local function note_change(changes, field, before, after)
  local was, is = value_text(before), value_text(after)
  if was ~= is then
    changes[#changes + 1] = string.format('{"field":%s,"before":%s,"after":%s}',
      cjson.encode(field), was and cjson.encode(was) or 'null', is and cjson.encode(is) or 'null')
  end
end

local function record_changes(record, wanted)
  local changes = {}
  for i, name in ipairs(RECORD_FIELDS) do
    note_change(changes, name, record and record[i], wanted and wanted[i])
  end
  return changes
end

local function or_null(text)
  return type(text) == 'string' and is_text(text, 255) and cjson.encode(text) or 'null'
end

-- `repaired`: {sku, location, token, buyer_id, changes}; only `changes` is always present.
local function repair_json(partition, request, repaired)
  local reservation_id = repaired.token
    and partition.id_start .. repaired.token .. '"' or '"reservation_id":null'
  return string.format(
    '"repair_id":"%s","actor":%s,"target":"%s","sku":%s,"location":%s,%s,"buyer_id":%s,'
      .. '"changes":[%s]',
    request[2], cjson.encode(request[3]), request[1], or_null(repaired.sku),
    or_null(repaired.location), reservation_id, or_null(repaired.buyer_id),
    table.concat(repaired.changes, ','))
end
