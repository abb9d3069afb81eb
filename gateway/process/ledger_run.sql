-- name: ledger_run
-- The database system, its timeline (another after a promotion or a recovery to a point in time), and the
-- instant at which this server started.
SELECT system.system_identifier || '/' || checkpoint.timeline_id || '/'
       || extract(epoch FROM pg_postmaster_start_time())
FROM pg_control_system() AS system, pg_control_checkpoint() AS checkpoint;
