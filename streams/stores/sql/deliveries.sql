-- Queries of the deliveries, by name.

-- name: add_due
-- What was delivered before is not due again; what failed is, if it was asked for anew. By read order.
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::bigint[], $6::bytea[], $7::bytea[],
                         $8::boolean[]) WITH ORDINALITY
           AS k (target, delivery_id, topic, log_partition, log_offset, key, value, is_replay, number)
), forgiven AS (
    DELETE FROM deliveries d USING asked a
     WHERE a.is_replay AND d.target = a.target AND d.delivery_id = a.delivery_id AND d.failed IS NOT NULL
    RETURNING d.target, d.delivery_id
)
INSERT INTO deliveries_due (target, delivery_id, topic, log_partition, log_offset, key, value, due_at)
SELECT a.target, a.delivery_id, a.topic, a.log_partition, a.log_offset, a.key, a.value, $9
  FROM asked a
 WHERE NOT EXISTS (SELECT FROM deliveries d WHERE d.target = a.target AND d.delivery_id = a.delivery_id)
    OR EXISTS (SELECT FROM forgiven f WHERE f.target = a.target AND f.delivery_id = a.delivery_id)
 ORDER BY a.number
    ON CONFLICT DO NOTHING

-- name: due
SELECT seq, due_at, delivery_id, topic, log_partition, log_offset, key, value
  FROM deliveries_due
 WHERE target = $1 AND coalesce(key, '') <> ALL ($3::bytea[])
 ORDER BY seq LIMIT $2

-- name: enter
-- Into the book, and no longer due.
WITH done AS (
    SELECT * FROM unnest($2::text[], $3::integer[], $4::timestamptz[], $5::text[]) AS k (delivery_id, tries, at, failed)
), gone AS (
    DELETE FROM deliveries_due q USING done k WHERE q.target = $1 AND q.delivery_id = k.delivery_id
)
INSERT INTO deliveries (target, delivery_id, tries, at, failed)
SELECT $1, delivery_id, tries, at, failed FROM done
    ON CONFLICT (target, delivery_id) DO UPDATE
   SET at = excluded.at, tries = excluded.tries, failed = excluded.failed
 WHERE deliveries.failed IS NOT NULL

-- name: own
SELECT pg_try_advisory_lock($1, hashtext($2))

-- name: disown
SELECT pg_advisory_unlock($1, hashtext($2))

-- name: forget
DELETE FROM deliveries WHERE at < $1

-- name: standing
SELECT target, count(*) AS waiting, min(due_at) AS since FROM deliveries_due GROUP BY target ORDER BY target

-- name: of_message
SELECT target, at, tries, failed FROM deliveries WHERE delivery_id = $1 ORDER BY target
