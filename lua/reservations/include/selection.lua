-- Selecting a part of a reservation's lines by triples {item, account or 0, quantity}; an empty
-- selection selects all lines.
local function are_selected(lines)
  return type(lines) == 'table' and (next(lines) == nil or are_lines(lines, 64))
end

-- Subtracts from `left` (the quantities of `lines`) the selection's triples that name an account,
-- or, with `with_account` false, those without an account. Returns false when units are missing.
local function take_selected(partition, lines, left, selection, with_account)
  for s = 1, #selection, 3 do
    local missing = selection[s + 2]
    local now = (selection[s + 1] ~= 0) == with_account
    for i = 1, now and #lines or 0, 2 do
      local fits = item_of(partition, lines[i]) == selection[s]
        and (selection[s + 1] == 0 or selection[s + 1] == lines[i])
      if fits then
        local part = math.min(missing, left[i])
        left[i], missing = left[i] - part, missing - part
      end
    end
    if now and missing > 0 then return false end
  end
  return true
end

-- Returns the selected and the remaining lines, each {account, quantity, ...}; nil when the
-- selection names more units than `lines` hold.
local function select_lines(partition, lines, selection)
  if #selection == 0 then return lines, {} end
  local left = {}
  for i = 1, #lines, 2 do left[i] = lines[i + 1] end
  -- Named accounts first, so that triples without an account do not take those units.
  if not (take_selected(partition, lines, left, selection, true)
          and take_selected(partition, lines, left, selection, false)) then
    return nil
  end
  local selected, rest = {}, {}
  for i = 1, #lines, 2 do
    if lines[i + 1] > left[i] then
      selected[#selected + 1], selected[#selected + 2] = lines[i], lines[i + 1] - left[i]
    end
    if left[i] > 0 then rest[#rest + 1], rest[#rest + 2] = lines[i], left[i] end
  end
  return selected, rest
end
