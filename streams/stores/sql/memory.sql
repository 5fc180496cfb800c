-- What a stock must remember, read from one snapshot to refill a stock that lost its memory.

-- name: promotions
SELECT p.promotion_id, p.opens_at, p.closes_at, p.buyer_limit, p.state, p.quota_skus, p.quota_units,
       s.skus AS swept_skus, s.units AS swept_units
  FROM promotions p
 CROSS JOIN LATERAL (
       SELECT coalesce(array_agg(m.sku), '{}') AS skus, coalesce(array_agg(-m.free), '{}') AS units
         FROM command_movements m
        WHERE m.ref = 'promo:' || p.promotion_id AND m.action = $1 AND m.pool = 'promo:' || p.promotion_id) s
 WHERE p.state IN ('open', 'closing', 'closed')
 ORDER BY p.promotion_id

-- name: bought
-- A hold counts as long as it lives and when it was paid; what was given back does not, what was sold late does again.
SELECT promotion_id, buyer_id, sum(units)::bigint AS units
  FROM (SELECT o.promotion_id, o.buyer_id, q.qty AS units
          FROM decisions o CROSS JOIN LATERAL unnest(o.qtys) AS q (qty)
         WHERE o.verdict = 0 AND o.promotion_id = ANY ($1::text[])
        UNION ALL
        SELECT o.promotion_id, o.buyer_id, m.held + m.sold
          FROM order_movements m JOIN decisions o ON o.order_id = m.order_id AND m.pool = 'promo:' || o.promotion_id
         WHERE o.promotion_id = ANY ($1::text[])) AS entries
 GROUP BY promotion_id, buyer_id
HAVING sum(units) > 0

-- name: holds
-- Orders that no movement of $1 has ended. Most stand where they were decided; of the others it is asked how they got on.
SELECT d.order_id, d.promotion_id, d.buyer_id, d.decided_at, d.held_until, d.skus, d.qtys,
       ARRAY(SELECT s.state FROM order_steps s WHERE s.order_id = d.order_id AND s.state IS NOT NULL) AS states,
       ARRAY(SELECT m.pool FROM order_movements m WHERE m.order_id = d.order_id AND m.action = $2) AS sold_late_from
  FROM decisions d
 WHERE d.verdict = 0
   AND NOT EXISTS (SELECT FROM order_movements m WHERE m.order_id = d.order_id AND m.action = ANY ($1::smallint[]))
 ORDER BY d.held_until

-- name: decisions
SELECT channel, submission_id, fingerprint, verdict, order_id, decided_at, held_until
  FROM decisions
 WHERE decided_at >= $1

-- name: ends
SELECT d.order_id, d.promotion_id, d.buyer_id, m.actions, m.pools, m.frees,
       ARRAY(SELECT s.state FROM order_steps s WHERE s.order_id = d.order_id AND s.state IS NOT NULL) AS states
  FROM (SELECT order_id, array_agg(action) AS actions, array_agg(pool) AS pools, array_agg(free) AS frees
          FROM order_movements WHERE at >= $1 GROUP BY order_id) m
  JOIN decisions d ON d.order_id = m.order_id

-- name: refs
SELECT DISTINCT action, ref FROM command_movements WHERE action = ANY ($1::smallint[])
