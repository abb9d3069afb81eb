-- name: settled_with_keys
-- Settled sales whose keys nobody has removed; younger than $1 seconds: their gateway is at it.
SELECT t.sale_id FROM sales s JOIN settlements t USING (sale_id)
WHERE s.state = 'settled' AND NOT s.keys_removed
    AND t.settled_at < now() - make_interval(secs => $1::float8)
ORDER BY t.settled_at
