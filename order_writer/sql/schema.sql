-- Statements of schema.py: which migrations a database has.

-- name: lock
-- Held until the session ends. The script may take long on a large ledger, waiting for it may not.
SELECT set_config('lock_timeout', '60s', false), set_config('statement_timeout', '0', false),
    pg_advisory_lock(7236421750411);

-- name: create_record
CREATE TABLE IF NOT EXISTS schema_migrations (
    number      integer PRIMARY KEY,
    name        text NOT NULL,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
);

-- name: applied
SELECT number, name, checksum FROM schema_migrations ORDER BY number;

-- name: record
INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3);
