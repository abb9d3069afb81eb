-- What a waiting room's admissions were spent on. Null in sales without one.
ALTER TABLE reservations ADD COLUMN admission bigint CHECK (admission >= 1);

-- An admission leads to one reservation.
CREATE UNIQUE INDEX admission_spent_once ON reservations (sale_id, buyer_id, admission)
    WHERE admission IS NOT NULL;
