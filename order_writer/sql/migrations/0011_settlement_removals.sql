-- Settled sales whose keys are gone from Redis: their settlements are final.
CREATE TABLE settlement_removals (
    sale_id          text PRIMARY KEY REFERENCES settlements ON DELETE CASCADE,
    removed_at       timestamptz NOT NULL DEFAULT now()
);
-- An announcement was made only after the keys were gone. The reconciler looks at all others.
INSERT INTO settlement_removals SELECT sale_id FROM settlement_announcements;
