-- States of a reservation. gateway/inventory/types.py holds the same table; a test keeps them
-- equal.
local HELD, CONFIRMED, CANCELLED, EXPIRED = 1, 2, 3, 4
