-- name: settled_with_keys
-- Settled sales whose keys nobody has removed; younger than $1 seconds: their gateway is at it.
SELECT t.sale_id FROM settlements t JOIN sales s USING (sale_id)
WHERE s.state = 'settled' AND t.settled_at < now() - make_interval(secs => $1::float8)
    AND NOT EXISTS (SELECT FROM settlement_removals r WHERE r.sale_id = t.sale_id)
ORDER BY t.settled_at
