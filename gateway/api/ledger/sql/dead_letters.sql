-- Events that could not be applied: the gateway lists them, the order writer replays them.

-- name: dead_letters
SELECT * FROM dead_letters WHERE ($1::bigint IS NULL OR dead_letter_id < $1)
ORDER BY dead_letter_id DESC LIMIT $2

-- name: dead_letter
SELECT * FROM dead_letters WHERE dead_letter_id = $1

-- name: request_replay
-- Asks the order writer to apply a dead letter; a resolved dead letter stays as it is.
WITH told AS (SELECT pg_notify('dropgate_writer', ($1::bigint)::text))
UPDATE dead_letters SET status = 'replay_requested'
FROM told WHERE dead_letter_id = $1 AND status IN ('dead', 'replay_requested')
RETURNING status

-- name: open_letters_by_reason
-- The count of open dead letters for every reason, also 0, so that no gauge disappears.
SELECT known.reason, count(d.dead_letter_id)::bigint AS letters
FROM unnest(ARRAY['undecodable', 'refused', 'waits_behind', 'fenced', 'unnumbered',
                  'unknown_partition']) AS known (reason)
LEFT JOIN dead_letters d
  ON d.reason = known.reason AND d.status IN ('dead', 'replay_requested')
GROUP BY known.reason
