-- name: ledger_identity
-- The system that the data belong to, and the timeline that is being written; the control file's
-- timeline follows a promotion only at the next checkpoint. Fails on a standby.
SELECT system_identifier || '/'
       || ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
FROM pg_control_system();
