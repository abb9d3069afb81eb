-- A part of a reservation's lines, named as triples {item, account or 0, quantity}; none: all.
local function are_selected(lines)
  return type(lines) == 'table' and (#lines == 0 or are_lines(lines, 64))
end

-- {account, quantity, ...} selected and left over, or nil when more is named than `lines` hold.
local function select_lines(partition, lines, selection)
  if #selection == 0 then return lines, {} end
  local left = {}
  for i = 1, #lines, 2 do left[i] = lines[i + 1] end
  for s = 1, #selection, 3 do
    local missing = selection[s + 2]
    for i = 1, #lines, 2 do
      local fits = item_of(partition, lines[i]) == selection[s]
        and (selection[s + 1] == 0 or selection[s + 1] == lines[i])
      if fits then
        local part = math.min(missing, left[i])
        left[i], missing = left[i] - part, missing - part
      end
    end
    if missing > 0 then return nil end
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
