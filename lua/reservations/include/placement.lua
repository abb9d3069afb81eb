-- Placement: the units a reserve takes. Lines of one SKU are summed, and each line gets a location.
-- The work grows with the lines and the locations looked at, never with their product.

-- Returns triples {item, account or 0, quantity, ...} with each (item, account) once, and the units
-- of each item, nil where there is one line. Lines with a named account come first, so that lines
-- without an account do not take those units.
local function summed(lines)
  if #lines == 3 then return lines end
  local named, free, places, units = {}, {}, {}, {}
  for i = 1, #lines, 3 do
    local item, account, quantity = lines[i], lines[i + 1], lines[i + 2]
    local list = account == 0 and free or named
    local key = account == 0 and -item or account -- an account is of one item
    local at = places[key] or #list + 1
    places[key] = at
    list[at], list[at + 1], list[at + 2] = item, account, (list[at + 2] or 0) + quantity
    units[item] = (units[item] or 0) + quantity
  end
  for _, value in ipairs(free) do named[#named + 1] = value end
  return named, units
end

-- `placed`: {account, quantity, ...}; `places`: where in it an account's quantity is.
local function take(placed, places, account, quantity)
  local at = places[account]
  if at then
    placed[at] = placed[at] + quantity
  else
    placed[#placed + 1], placed[#placed + 2] = account, quantity
    places[account] = #placed
  end
end

local function room_at(partition, item, at, placed, places)
  local taken = places[account_at(partition, item, at)]
  return available_at(partition, item, at) - (taken and placed[taken] or 0)
    - account_floor(partition, item)
end

-- Places a line at the first location, in the sale's order of preference, that has the whole
-- quantity; where the sale allows a split, over several locations in that order. Adds to `placed`;
-- returns false where the line does not fit.
local function place_line(partition, item, named, quantity, placed, places)
  local known = partition.items[item]
  local first, last = 1, #known[7]
  if named ~= 0 then first, last = named - known[6] + 1, named - known[6] + 1 end
  for at = first, last do
    if room_at(partition, item, at, placed, places) >= quantity then
      take(placed, places, account_at(partition, item, at), quantity)
      return true
    end
  end
  if not partition.split then return false end
  for at = first, last do
    local part = math.min(quantity, room_at(partition, item, at, placed, places))
    if part > 0 then
      take(placed, places, account_at(partition, item, at), part)
      quantity = quantity - part
    end
    if quantity == 0 then return true end
  end
  return false
end

-- Returns the flat list {account, quantity, ...}, or nil and the item that is short.
local function place(partition, lines, units)
  for i = 1, #lines, 3 do
    local item = lines[i]
    local left = available_of(partition, item) - (units and units[item] or lines[3])
    if left < partition.items[item][4] then return nil, item end
  end
  if #lines == 3 and #partition.items[lines[1]][7] == 1 then
    return {partition.items[lines[1]][6], lines[3]} -- the item's floor is the location's too
  end
  local placed, places = {}, {}
  for i = 1, #lines, 3 do
    local fits = place_line(partition, lines[i], lines[i + 1], lines[i + 2], placed, places)
    if not fits then return nil, lines[i] end
  end
  return placed
end
