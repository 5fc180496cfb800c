-- Queries of the watch, by name. Those of orders look at each once, when it has been so for the rule's time, and again
-- at those that were found: what they cost grows with what comes in and what is wrong, not with what there is.

-- name: marks
SELECT rule, looked_until FROM watch_marks

-- name: set_mark
INSERT INTO watch_marks (rule, looked_until) VALUES ($1, $2)
    ON CONFLICT (rule) DO UPDATE SET looked_until = excluded.looked_until

-- name: orders_unprocessed
-- Paid (state 1), and nothing heard from a warehouse, nor taken back.
WITH candidates AS (
    SELECT order_id, at FROM order_steps WHERE at > $1 AND at <= $2 AND state = 1
    UNION ALL
    SELECT order_id, since FROM watch_orders WHERE rule = $3
)
SELECT c.order_id, d.channel, min(c.at) AS since
  FROM candidates c
  JOIN decisions d ON d.order_id = c.order_id
 WHERE NOT EXISTS (SELECT FROM order_steps s
                    WHERE s.order_id = c.order_id AND (s.milestone BETWEEN 3010 AND 3999 OR s.milestone = 1090))
   AND (SELECT s.state FROM order_steps s
         WHERE s.order_id = c.order_id AND s.state IS NOT NULL ORDER BY s.step_no DESC LIMIT 1) = 1
 GROUP BY c.order_id, d.channel
 ORDER BY since LIMIT $4

-- name: paid_unlocked
-- The money was reported (milestone 1040), and the stock is neither sold nor is the money on its way back.
WITH candidates AS (
    SELECT order_id, at FROM order_steps WHERE at > $1 AND at <= $2 AND milestone = 1040
    UNION ALL
    SELECT order_id, since FROM watch_orders WHERE rule = $3
)
SELECT c.order_id, d.channel, min(c.at) AS since
  FROM candidates c
  JOIN decisions d ON d.order_id = c.order_id
 WHERE coalesce((SELECT s.state FROM order_steps s
                  WHERE s.order_id = c.order_id AND s.state IS NOT NULL ORDER BY s.step_no DESC LIMIT 1), 0)
       NOT IN (1, 4)
   AND NOT EXISTS (SELECT FROM order_steps s WHERE s.order_id = c.order_id AND s.milestone IN (1060, 1070, 1090))
 GROUP BY c.order_id, d.channel
 ORDER BY since LIMIT $4

-- name: refund_waiting
-- Money is owed (state 4), and nobody has begun to send it back.
WITH candidates AS (
    SELECT order_id, at FROM order_steps WHERE at > $1 AND at <= $2 AND state = 4
    UNION ALL
    SELECT order_id, since FROM watch_orders WHERE rule = $3
)
SELECT c.order_id, d.channel, min(c.at) AS since
  FROM candidates c
  JOIN decisions d ON d.order_id = c.order_id
 WHERE NOT EXISTS (SELECT FROM order_steps s WHERE s.order_id = c.order_id AND s.milestone IN (1060, 1070, 1090))
 GROUP BY c.order_id, d.channel
 ORDER BY since LIMIT $4

-- name: found_orders
SELECT order_id, channel, since FROM watch_orders WHERE rule = $1

-- name: add_found
INSERT INTO watch_orders (rule, order_id, channel, since)
SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::timestamptz[]) ON CONFLICT DO NOTHING

-- name: drop_found
DELETE FROM watch_orders WHERE rule = $1 AND order_id = ANY ($2::uuid[])

-- name: delays
-- Of what others told us; holds that end by the clock have no source beside us.
SELECT source, date_bin('5 minutes', at, 'epoch') AS at, max(at) AS last_at, count(*) AS reports,
       floor(ln(greatest(extract(epoch FROM at - occurred_at)::double precision * 1000, 1)) / ln(1.1))::smallint AS bucket,
       sum(greatest(extract(epoch FROM at - occurred_at)::double precision * 1000, 0)) AS delay_ms
  FROM order_steps
 WHERE at > $1 AND at <= $2 AND source <> ALL ($3::text[])
 GROUP BY source, date_bin('5 minutes', at, 'epoch'), bucket

-- name: add_delays
INSERT INTO source_delays (at, source, bucket, reports, delay_ms)
SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::smallint[], $4::bigint[], $5::double precision[])
    ON CONFLICT (at, source, bucket) DO UPDATE
   SET reports = source_delays.reports + excluded.reports, delay_ms = source_delays.delay_ms + excluded.delay_ms

-- name: forget_delays
DELETE FROM source_delays WHERE at < $1

-- name: note_activity
INSERT INTO source_activity (source, last_at) SELECT * FROM unnest($1::text[], $2::timestamptz[])
    ON CONFLICT (source) DO UPDATE SET last_at = greatest(source_activity.last_at, excluded.last_at)

-- name: activity
SELECT source, last_at FROM source_activity ORDER BY source

-- name: delays_since
SELECT source, bucket, sum(reports)::bigint AS reports, sum(delay_ms) AS delay_ms
  FROM source_delays WHERE at >= $1 GROUP BY source, bucket ORDER BY source, bucket

-- name: deliveries_waiting
SELECT target AS subject, count(*) AS affected, min(due_at) AS since
  FROM deliveries_due GROUP BY target HAVING min(due_at) < $1

-- name: deliveries_failed
SELECT target AS subject, count(*) AS affected, min(at) AS since, (array_agg(failed ORDER BY at DESC))[1:1] AS examples
  FROM deliveries WHERE at > $1 AND failed IS NOT NULL GROUP BY target

-- name: quarantined_codes
SELECT source || ':' || subject AS subject, count(*) AS affected, min(seen_at) AS since
  FROM quarantine WHERE reason = 'unknown_code' GROUP BY source, subject ORDER BY affected DESC LIMIT 1000

-- name: quarantined_orders
SELECT source AS subject, count(*) AS affected, min(seen_at) AS since, (array_agg(subject ORDER BY seen_at))[1:5] AS examples
  FROM quarantine WHERE reason = 'unknown_order' AND seen_at < $1 GROUP BY source

-- name: kept
-- Open ones, and those that were closed so lately that they may come back.
SELECT * FROM tickets WHERE closed_at IS NULL OR closed_at > $1 ORDER BY ticket_id FOR NO KEY UPDATE

-- name: kept_one
SELECT * FROM tickets WHERE ticket_id = $1 FOR NO KEY UPDATE

-- name: keep
INSERT INTO tickets (ticket_id, kind, subject, detail, cause, fix, opened_at, seen_at, affected, level, openings,
                     clear_since, acked_at, acked_by, closed_at, closed_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
    ON CONFLICT (ticket_id) DO UPDATE
   SET detail = excluded.detail, cause = excluded.cause, fix = excluded.fix, opened_at = excluded.opened_at,
       seen_at = excluded.seen_at, affected = excluded.affected, level = excluded.level, openings = excluded.openings,
       clear_since = excluded.clear_since, acked_at = excluded.acked_at, acked_by = excluded.acked_by,
       closed_at = excluded.closed_at, closed_by = excluded.closed_by

-- name: add_event
INSERT INTO ticket_events (at, affected, level, ticket_id, event, who, note) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: listed
SELECT * FROM tickets
 WHERE ($1::text IS NULL OR kind = $1) AND (closed_at IS NULL OR closed_at >= $2)
 ORDER BY closed_at NULLS FIRST, level DESC, opened_at, ticket_id LIMIT $3

-- name: one
SELECT * FROM tickets WHERE ticket_id = $1

-- name: events
SELECT at, event, level, affected, who, note FROM ticket_events WHERE ticket_id = $1 ORDER BY event_no
