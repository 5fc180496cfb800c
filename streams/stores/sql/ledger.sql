-- Queries of the ledger, by name. Batches come as arrays: one statement for any number of rows.

-- name: wal_token
SELECT pg_current_wal_flush_lsn()::text

-- name: wait_for_standby
SELECT pg_logical_emit_message(true, 'floodway', '') WHERE current_setting('synchronous_standby_names') <> ''

-- name: timeline
SELECT CASE WHEN pg_is_in_recovery() THEN 0
       ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::integer END

-- name: replica_reached
SELECT coalesce(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END >= $1::text::pg_lsn,
    false)

-- name: lookup
SELECT d.channel, d.submission_id, d.order_id, d.fingerprint, d.verdict, d.decided_at, d.held_until, d.trace_id,
       d.log_partition, d.log_offset
  FROM unnest($1::text[], $2::text[]) AS k (channel, submission_id)
  JOIN decisions d ON d.channel = k.channel AND d.submission_id = k.submission_id

-- name: decision_by_order_id
SELECT channel, submission_id, order_id, fingerprint, verdict, decided_at, held_until, trace_id, log_partition,
       log_offset
  FROM decisions
 WHERE order_id = $1

-- name: orders
SELECT o.order_id, o.channel, o.submission_id, o.buyer_id, o.channel_order_no, o.currency, o.total, o.promotion_id,
       o.pool, s.state, o.submitted_at, o.decided_at, o.held_until, s.at AS changed_at, o.trace_id, o.skus, o.qtys
  FROM orders o
  LEFT JOIN LATERAL (
       SELECT state, at FROM order_steps
        WHERE order_id = o.order_id AND state IS NOT NULL ORDER BY step_no DESC LIMIT 1) s ON true
 WHERE o.order_id = ANY ($1::uuid[])

-- name: record_conflicts
INSERT INTO conflicts (channel, submission_id, fingerprint, log_partition, log_offset, seen_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::integer[], $5::bigint[], $6::timestamptz[])
    ON CONFLICT DO NOTHING

-- name: lock_orders
SELECT order_id FROM decisions
 WHERE order_id = ANY ($1::uuid[]) AND verdict = 0
 ORDER BY order_id FOR NO KEY UPDATE

-- name: positions
-- Where orders are: their last state, how many steps they made, and what each part has reached, a line a milestone.
SELECT s.order_id, count(*) AS steps,
       (array_agg(s.state ORDER BY s.step_no DESC) FILTER (WHERE s.state IS NOT NULL))[1] AS state,
       string_agg(s.milestone || ' ' || coalesce(s.shipment, '') || ' ' || coalesce(s.sku, ''), E'\n')
           FILTER (WHERE s.milestone IS NOT NULL) AS reached
  FROM order_steps s
 WHERE s.order_id = ANY ($1::uuid[])
 GROUP BY s.order_id

-- name: known_steps
SELECT s.order_id, s.source, s.event_id, s.state, s.advanced
  FROM unnest($1::uuid[], $2::text[], $3::text[]) AS k (order_id, source, event_id)
  JOIN order_steps s ON s.order_id = k.order_id AND s.source = k.source AND s.event_id = k.event_id

-- name: known_movements
SELECT m.order_id, m.action, m.sku, m.pool FROM order_movements m WHERE m.order_id = ANY ($1::uuid[])

-- name: steps
SELECT s.at, s.kind, s.source, s.state, s.advanced FROM order_steps s WHERE s.order_id = $1 ORDER BY s.at, s.step_no

-- name: step_records
SELECT at, occurred_at, kind, source, event_id, state, advanced, milestone, shipment, sku, raw_code, zone, note
  FROM order_steps WHERE order_id = $1 ORDER BY step_no

-- name: by_numbers
SELECT d.channel, d.channel_order_no, d.order_id
  FROM unnest($1::text[], $2::text[]) AS k (channel, channel_order_no)
  JOIN decisions d ON d.channel = k.channel AND d.channel_order_no = k.channel_order_no
                  AND d.verdict = 0 AND d.channel_order_no <> ''

-- name: numbered
SELECT order_id FROM decisions
 WHERE channel = $1 AND channel_order_no = $2 AND verdict = 0 AND channel_order_no <> '' LIMIT $3

-- name: traced
SELECT order_id FROM decisions WHERE trace_id = $1 LIMIT $2

-- name: sold_units
SELECT order_id, sku, pool, sum(sold)::bigint AS units FROM order_movements
 WHERE order_id = ANY ($1::uuid[])
 GROUP BY order_id, sku, pool HAVING sum(sold) > 0

-- name: restocks_of
SELECT order_id, ref, pool, skus, qtys, asked_at, done_at FROM restocks
 WHERE order_id = ANY ($1::uuid[])
 ORDER BY asked_at, order_id, ref

-- name: add_restock
INSERT INTO restocks (asked_at, order_id, ref, pool, skus, qtys) VALUES ($1, $2, $3, $4, $5, $6)

-- name: open_restocks
SELECT order_id, ref, pool, skus, qtys, asked_at FROM restocks
 WHERE done_at IS NULL AND asked_at < $1
 ORDER BY asked_at, order_id, ref LIMIT $2

-- name: restocks_done
UPDATE restocks r SET done_at = $3
  FROM unnest($1::uuid[], $2::text[]) AS k (order_id, ref)
 WHERE r.order_id = k.order_id AND r.ref = k.ref AND r.done_at IS NULL

-- name: standings_by_number
SELECT d.channel_order_no AS number, d.order_id, d.total, d.submitted_at
  FROM decisions d
 WHERE d.channel = $1 AND d.channel_order_no = ANY ($2::text[]) AND d.verdict = 0 AND d.channel_order_no <> ''

-- name: standings_by_submission
SELECT d.submission_id AS number, d.order_id, d.total, d.submitted_at
  FROM decisions d
 WHERE d.channel = $1 AND d.submission_id = ANY ($2::text[]) AND d.verdict = 0

-- name: rejected
SELECT submission_id, verdict FROM decisions
 WHERE channel = $1 AND submission_id = ANY ($2::text[]) AND verdict <> 0

-- name: waiting_numbers
SELECT channel_order_no, count(*) AS waiting, min(seen_at) AS since FROM quarantine
 WHERE channel = $1 AND channel_order_no = ANY ($2::text[])
 GROUP BY channel_order_no

-- name: last_steps
SELECT DISTINCT ON (order_id) order_id, at, kind, source FROM order_steps
 WHERE order_id = ANY ($1::uuid[]) AND (state IS NOT NULL OR advanced)
 ORDER BY order_id, step_no DESC

-- name: orders_between
SELECT order_id, coalesce(nullif(channel_order_no, ''), submission_id) AS number FROM decisions
 WHERE ($2::uuid IS NULL OR order_id > $2) AND ($3::uuid IS NULL OR order_id < $3) AND channel = $1 AND verdict = 0
 ORDER BY order_id LIMIT $4

-- name: by_shipments
SELECT shipment, array_agg(DISTINCT order_id) AS order_ids
  FROM order_steps WHERE shipment = ANY ($1::text[]) GROUP BY shipment

-- name: add_unsaid
INSERT INTO outbox (batch, at, body) VALUES ($1, $2, $3)

-- name: any_unsaid
SELECT EXISTS (SELECT FROM outbox WHERE at < $1)

-- name: unsaid
SELECT batch, body FROM outbox WHERE at < $1 ORDER BY at, batch LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED

-- name: said
DELETE FROM outbox WHERE batch = ANY ($1::text[])

-- name: quarantine
INSERT INTO quarantine (log_partition, log_offset, seen_at, reason, source, subject, channel, channel_order_no, shipment,
                        order_id, value, header_names, header_values, digest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
    ON CONFLICT (digest) DO UPDATE
   SET reason = excluded.reason, subject = excluded.subject, channel = excluded.channel, shipment = excluded.shipment,
       channel_order_no = excluded.channel_order_no, order_id = excluded.order_id

-- name: open_ticket
WITH opened AS (
    INSERT INTO tickets (ticket_id, kind, subject, detail, fix, opened_at) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (ticket_id) DO UPDATE
       SET opened_at = excluded.opened_at, closed_at = NULL, detail = excluded.detail, level = 0, affected = 1,
           openings = 1, clear_since = NULL, acked_at = NULL, acked_by = NULL, closed_by = NULL
     WHERE tickets.closed_at IS NOT NULL
    RETURNING ticket_id, opened_at
)
INSERT INTO ticket_events (at, affected, level, ticket_id, event)
SELECT opened_at, 1, 0, ticket_id, 'opened' FROM opened RETURNING ticket_id

-- name: quarantined
SELECT * FROM quarantine
 WHERE ($1::text IS NULL OR reason = $1) AND ($3::text[] IS NULL OR source || ':' || subject = ANY ($3))
 ORDER BY seen_at, log_partition, log_offset LIMIT $2

-- name: waiting_of
SELECT * FROM quarantine
 WHERE order_id = $1 OR (channel = $2 AND channel_order_no = $3) OR shipment = ANY ($4::text[])
 ORDER BY seen_at, log_partition, log_offset LIMIT $5

-- name: resolvable
-- What waited for an order or a parcel that is known by now.
SELECT q.* FROM quarantine q
 WHERE q.reason = 'unknown_order'
   AND (EXISTS (SELECT FROM decisions d WHERE d.channel = q.channel AND d.channel_order_no = q.channel_order_no
                                          AND d.verdict = 0 AND d.channel_order_no <> '')
        OR EXISTS (SELECT FROM decisions d WHERE d.order_id = q.order_id AND d.verdict = 0)
        OR EXISTS (SELECT FROM order_steps s WHERE s.shipment = q.shipment))
 ORDER BY q.seen_at, q.log_partition, q.log_offset LIMIT $1

-- name: unquarantine
DELETE FROM quarantine WHERE digest = ANY ($1::bytea[])

-- name: tickets
SELECT ticket_id, kind, subject, detail, fix, opened_at FROM tickets WHERE closed_at IS NULL ORDER BY opened_at, ticket_id

-- name: close_tickets
WITH closed AS (
    UPDATE tickets SET closed_at = $2 WHERE ticket_id = ANY ($1::text[]) AND closed_at IS NULL RETURNING *
), noted AS (
    INSERT INTO ticket_events (at, affected, level, ticket_id, event) SELECT $2, affected, level, ticket_id, 'closed' FROM closed
)
SELECT ticket_id, kind, subject, detail, cause, fix, opened_at, opened_at AS seen_at, affected, level FROM closed
 ORDER BY ticket_id

-- name: add_command_movements
INSERT INTO command_movements (ref, action, sku, pool, free, held, sold, at)
SELECT * FROM unnest($1::text[], $2::smallint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::timestamptz[])
    ON CONFLICT DO NOTHING

-- name: command_movements
SELECT sku, pool, free, held, sold FROM command_movements WHERE ref = $1 AND action = $2

-- name: save_promotion
INSERT INTO promotions (promotion_id, opens_at, closes_at, buyer_limit, state, quota_skus, quota_units)
VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (promotion_id) DO UPDATE
   SET opens_at = excluded.opens_at, closes_at = excluded.closes_at, buyer_limit = excluded.buyer_limit,
       state = excluded.state, quota_skus = excluded.quota_skus, quota_units = excluded.quota_units
 WHERE NOT promotions.state = ANY ($8::text[])

-- name: promotions
SELECT promotion_id, opens_at, closes_at, buyer_limit, state, quota_skus, quota_units
  FROM promotions
 WHERE cardinality($1::text[]) = 0 OR state = ANY ($1::text[])
 ORDER BY promotion_id

-- name: epoch
SELECT max(epoch) FROM epochs

-- name: issue_epoch
-- Each timeline has numbers of its own: an epoch that was lost with its server is not issued again.
INSERT INTO epochs (epoch, installation, reason)
SELECT greatest(coalesce(max(epoch), 0) + 1, (server_timeline() - 1) * 1000000::bigint + 1),
       coalesce((array_agg(installation ORDER BY epoch))[1], gen_random_uuid()), $1
  FROM epochs
RETURNING epoch

-- name: failed_over_since
SELECT coalesce(bool_and(reason = $2) FILTER (WHERE epoch > $1),
                (array_agg(timeline ORDER BY epoch DESC))[1] <> server_timeline())
  FROM epochs

-- name: installation
SELECT installation FROM epochs ORDER BY epoch LIMIT 1

-- name: balances
SELECT sku, pool, sum(free)::bigint AS free, sum(held)::bigint AS held, sum(sold)::bigint AS sold
  FROM (SELECT sku, pool, -qty::bigint AS free, qty::bigint AS held, 0::bigint AS sold FROM order_lines
        UNION ALL
        SELECT sku, pool, free, held, sold FROM order_movements
        UNION ALL
        SELECT sku, pool, free, held, sold FROM command_movements) AS entries
 WHERE $1::text[] IS NULL OR sku IN (SELECT unnest($1::text[]))  -- hashed once; = ANY compares each row with each SKU
 GROUP BY sku, pool
 ORDER BY sku, pool
