-- How far a comparison is, and when somebody last waited for it: nobody repeats it for no one.
ALTER TABLE reconciliations
    ADD COLUMN compared   bigint NOT NULL DEFAULT 0,           -- reservations seen so far
    ADD COLUMN to_compare bigint,                              -- null until a whole comparison begins
    ADD COLUMN waited_at  timestamptz NOT NULL DEFAULT now();
