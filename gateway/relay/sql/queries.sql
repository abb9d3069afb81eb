-- name: partitions
-- Every partition whose events still have to reach the log.
SELECT w.sale_id, w.partition
FROM watermarks w JOIN sales s USING (sale_id)
WHERE s.state <> 'settled'
ORDER BY w.sale_id, w.partition
