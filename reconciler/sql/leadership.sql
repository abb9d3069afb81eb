-- The lead: a lease in one row, on the server's clock.

-- name: take_lead
-- Takes or renews the lead for $2 seconds as $1; returns a row where $1 has it now. The clock is read
-- after the wait for the row. A lease with more time left than $2 was written before the clock was set
-- back; it counts as ended.
INSERT INTO reconciler_lease AS lease (holder, expires_at)
VALUES ($1, clock_timestamp() + make_interval(secs => $2::float8))
ON CONFLICT (only_row) DO UPDATE
SET holder = $1, expires_at = clock_timestamp() + make_interval(secs => $2::float8)
WHERE lease.holder = $1
    OR lease.expires_at <= clock_timestamp()
    OR lease.expires_at > clock_timestamp() + make_interval(secs => $2::float8)
RETURNING holder

-- name: give_up_lead
-- Ends the lease of $1 now, so that another reconciler need not wait for its end.
UPDATE reconciler_lease SET expires_at = clock_timestamp() WHERE holder = $1
