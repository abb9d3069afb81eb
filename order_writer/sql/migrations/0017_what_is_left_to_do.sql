-- What the duties and the relay look for each second lies in indexes of its own: they read what is left
-- to do, however many sales and comparisons there were.
CREATE INDEX reconciliations_running ON reconciliations (reconciliation_id) WHERE status = 'running';

-- Two facts about a settled sale, repeated in its row because an index can only be over one table.
ALTER TABLE sales
    ADD COLUMN keys_removed boolean NOT NULL DEFAULT false,  -- has a row in settlement_removals
    ADD COLUMN announced    boolean NOT NULL DEFAULT false;  -- has a row in settlement_announcements
UPDATE sales SET keys_removed = true WHERE sale_id IN (SELECT sale_id FROM settlement_removals);
UPDATE sales SET announced = true WHERE sale_id IN (SELECT sale_id FROM settlement_announcements);
CREATE INDEX sales_with_keys ON sales (sale_id) WHERE state = 'settled' AND NOT keys_removed;
CREATE INDEX sales_unannounced ON sales (sale_id)
    WHERE state = 'settled' AND keys_removed AND NOT announced;

CREATE FUNCTION repeat_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sales SET keys_removed = true WHERE sale_id = NEW.sale_id;
    RETURN NULL;
END $$;
CREATE TRIGGER settlement_removals_repeated AFTER INSERT ON settlement_removals
    FOR EACH ROW EXECUTE FUNCTION repeat_removal();
CREATE FUNCTION repeat_announcement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sales SET announced = true WHERE sale_id = NEW.sale_id;
    RETURN NULL;
END $$;
CREATE TRIGGER settlement_announcements_repeated AFTER INSERT ON settlement_announcements
    FOR EACH ROW EXECUTE FUNCTION repeat_announcement();
