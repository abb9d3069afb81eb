-- States of a reservation, as numbers. gateway/inventory/types.py holds this table too; a test
-- compares the two.
local HELD, CONFIRMED, CANCELLED, EXPIRED = 1, 2, 3, 4
