-- What the bench asks Postgres.

-- name: applied
SELECT min(sequence) FROM watermarks WHERE sale_id = $1;

-- name: doubled_buyers
SELECT count(*) FROM (
    SELECT FROM reservations WHERE sale_id = $1 GROUP BY buyer_id HAVING count(*) > 1
) AS doubled;

-- name: create_database
CREATE DATABASE bench;

-- name: durability
SHOW synchronous_commit;
