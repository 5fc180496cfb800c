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

-- name: states
SELECT k.order_id, s.state
  FROM unnest($1::uuid[]) AS k (order_id)
  JOIN LATERAL (
       SELECT state FROM order_steps
        WHERE order_id = k.order_id AND state IS NOT NULL ORDER BY step_no DESC LIMIT 1) s ON true

-- name: known_steps
SELECT s.order_id, s.source, s.event_id, s.state
  FROM unnest($1::uuid[], $2::text[], $3::text[]) AS k (order_id, source, event_id)
  JOIN order_steps s ON s.order_id = k.order_id AND s.source = k.source AND s.event_id = k.event_id

-- name: known_movements
SELECT m.order_id, m.action, m.sku, m.pool FROM order_movements m WHERE m.order_id = ANY ($1::uuid[])

-- name: steps
SELECT s.at, s.kind, s.source, s.state FROM order_steps s WHERE s.order_id = $1 ORDER BY s.at, s.step_no

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
 WHERE $1::text[] IS NULL OR sku = ANY ($1::text[])
 GROUP BY sku, pool
 ORDER BY sku, pool
