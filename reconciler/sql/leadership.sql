-- The lead: an advisory lock of one session.

-- name: try_lead
-- At most one session in the whole database gets this; it ends with the session.
SELECT pg_try_advisory_lock(hashtextextended('dropgate.reconciler', 0))

-- name: still_lead
SELECT 1
