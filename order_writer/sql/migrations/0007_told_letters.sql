-- Which dead letters their topic has.
ALTER TABLE dead_letters ADD COLUMN published_at timestamptz;
CREATE INDEX dead_letters_to_publish ON dead_letters (dead_letter_id) WHERE published_at IS NULL;
