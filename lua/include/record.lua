-- How reservations and buyers are stored: short MessagePack arrays, one hash field each, changed in
-- place as arrays. gateway/inventory/types.py reads these arrays; a test compares the two layouts.
--
-- The reservation array has its values at the places named here; the last four values are present
-- only once they exist, or a value behind them does: then '' and {} stand for no value. LINES and
-- RETURNED are flat lists {account, quantity, ...}. DEADLINE is on the partition's clock while the
-- reservation is held, afterwards on the wall clock.
local STATE, EPOCH, SEQUENCE, ACCEPTED_EPOCH, ACCEPTED_SEQUENCE = 1, 2, 3, 4, 5
local DEADLINE, EXTENDED_MS, BUYER, FINGERPRINT, LINES = 6, 7, 8, 9, 10
local PAYMENT_REFERENCE, RETURNED, RETURN_KEYS, EXTEND_KEYS = 11, 12, 13, 14

-- The buyer array: {key, number, key, number, ..., token of an active hold, token, ...}. A positive
-- key is an item, with the buyer's held + sold units as its number; the other keys are:
local ADMISSION = 0 -- the highest admission number spent; a buyer's numbers only grow
local GIVEN_BACK = -1 -- reservations of the buyer that were cancelled or expired, never paid for
local COOLS_UNTIL = -2 -- the instant on the partition's clock before which a new hold is refused
-- Of those given back, the ones that count against `unpaid_per_buyer`: how many were given back in
-- the latest window that has any, and the number of this window, wall_ms / the window's ms.
local UNPAID, UNPAID_WINDOW = -3, -4

-- Returns the place of the key's number, or nil and the place where a new key belongs: keys ascend,
-- so equal numbers are equal bytes. In arrays of an earlier release they may not.
local function count_place(buyer, item)
  local i, new = 1, nil
  while type(buyer[i]) == 'number' do
    if buyer[i] == item then return i + 1 end
    if buyer[i] > item then new = new or i end
    i = i + 2
  end
  return nil, new or i
end

local function count_of(buyer, item)
  local place = count_place(buyer, item)
  return place and buyer[place] or 0
end

local function add_count(buyer, item, quantity)
  local place, new = count_place(buyer, item)
  if not place then
    table.insert(buyer, new, item)
    table.insert(buyer, new + 1, quantity)
  elseif buyer[place] + quantity > 0 then
    buyer[place] = buyer[place] + quantity
  else
    table.remove(buyer, place - 1)
    table.remove(buyer, place - 1)
  end
end

local function set_number(buyer, key, number)
  local place, new = count_place(buyer, key)
  if place then
    buyer[place] = number
  else
    table.insert(buyer, new, key)
    table.insert(buyer, new + 1, number)
  end
end

local function first_hold(buyer)
  local i = 1
  while type(buyer[i]) == 'number' do i = i + 2 end
  return i
end

local function forget_hold(buyer, token)
  for i = first_hold(buyer), #buyer do
    if buyer[i] == token then return table.remove(buyer, i) end
  end
end
