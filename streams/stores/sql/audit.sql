-- What an audit asks of the books. Evidence from Kafka and Redis is put beside them in temporary tables, so that
-- comparing is Postgres' work and the auditor's memory does not grow with orders.

-- name: create_evidence
CREATE TEMP TABLE read_submissions (
    log_offset bigint NOT NULL,
    log_partition integer NOT NULL,
    channel text COLLATE "C" NOT NULL,
    submission_id text COLLATE "C" NOT NULL
);
CREATE TEMP TABLE reviewed (log_offset bigint NOT NULL, log_partition integer NOT NULL);
CREATE TEMP TABLE bad_records (log_offset bigint NOT NULL, log_partition integer NOT NULL);
CREATE TEMP TABLE buried_records (log_offset bigint NOT NULL, log_partition integer NOT NULL);
CREATE TEMP TABLE announced (
    order_id uuid NOT NULL,
    accepted boolean NOT NULL,
    conflict boolean NOT NULL,
    channel text COLLATE "C" NOT NULL,
    submission_id text COLLATE "C" NOT NULL
);
CREATE TEMP TABLE stock_holds (due_ms bigint NOT NULL, order_id uuid NOT NULL);

-- name: set_reviewed_aside
-- Submissions that wait under review: read and committed, and neither decided nor forgotten.
DELETE FROM read_submissions s USING (SELECT DISTINCT * FROM reviewed) r
 WHERE r.log_partition = s.log_partition AND r.log_offset = s.log_offset;

-- name: weigh_evidence
ANALYZE read_submissions, bad_records, buried_records, announced, stock_holds;

-- name: count_submissions
SELECT count(*) FROM (SELECT DISTINCT channel, submission_id FROM read_submissions) AS keys;

-- name: count_decisions
SELECT count(*) FROM decisions;

-- name: missing
-- Submissions that were read, their offsets committed, and never decided.
SELECT r.channel || ':' || r.submission_id AS what
  FROM read_submissions r
  LEFT JOIN decisions d ON d.channel = r.channel AND d.submission_id = r.submission_id
 WHERE d.channel IS NULL
 GROUP BY 1;

-- name: unburied
-- Bad records that were read and are no dead letters.
SELECT b.log_partition || '-' || b.log_offset AS what
  FROM bad_records b
  LEFT JOIN buried_records d ON d.log_partition = b.log_partition AND d.log_offset = b.log_offset
 WHERE d.log_offset IS NULL;

-- name: unanswered
-- Keys that were submitted more often than answered.
SELECT r.channel || ':' || r.submission_id AS what
  FROM (SELECT channel, submission_id, count(*) AS times FROM read_submissions GROUP BY 1, 2) r
  LEFT JOIN (SELECT channel, submission_id, count(*) AS times FROM announced GROUP BY 1, 2) a
    ON a.channel = r.channel AND a.submission_id = r.submission_id
 WHERE coalesce(a.times, 0) < r.times;

-- name: repeated
-- Announcements that say something else than the ledger: a second decision, or one that was never durable.
SELECT a.channel || ':' || a.submission_id AS what
  FROM announced a
  LEFT JOIN decisions d ON d.channel = a.channel AND d.submission_id = a.submission_id
 WHERE d.channel IS NULL
    OR d.order_id <> a.order_id
    OR (NOT a.conflict AND (d.verdict = 0) <> a.accepted)
 GROUP BY 1;

-- name: contradictory
-- Orders whose movements do not add up to their state: an effect that happened twice, or half, or not at all.
SELECT coalesce(o.order_id, moved.order_id)::text AS what
  FROM orders_now o
  FULL JOIN (SELECT order_id, sum(free) AS free, sum(held) AS held, sum(sold) AS sold
               FROM order_movements GROUP BY 1) moved ON moved.order_id = o.order_id
 CROSS JOIN LATERAL (SELECT sum(qty) AS qty FROM unnest(o.qtys) AS q (qty)) l
 -- An order without movements has moved nothing; left null, it would compare as neither right nor wrong.
 CROSS JOIN LATERAL (
       SELECT coalesce(moved.free, 0) AS free, coalesce(moved.held, 0) AS held, coalesce(moved.sold, 0) AS sold) m
 WHERE o.order_id IS NULL
    OR m.free + m.held + m.sold <> 0
    OR NOT CASE o.state
           WHEN 'held' THEN m.held = 0 AND m.sold = 0
           WHEN 'confirmed' THEN m.held = -l.qty AND m.sold = l.qty
           WHEN 'refund_due' THEN m.held = -l.qty AND m.sold IN (0, l.qty)
           ELSE m.held = -l.qty AND m.sold = 0
           END;

-- name: leaked_holds
-- Holds in the stock without an order that holds: units that nobody would ever give back.
SELECT s.order_id::text AS what
  FROM stock_holds s
  LEFT JOIN orders_now o ON o.order_id = s.order_id AND o.state = 'held'
 WHERE o.order_id IS NULL OR s.due_ms <> floor(extract(epoch FROM o.held_until) * 1000)
 GROUP BY 1;

-- name: lost_holds
-- Orders that hold, without a hold in the stock.
SELECT o.order_id::text AS what
  FROM orders_now o
  LEFT JOIN stock_holds s ON s.order_id = o.order_id
 WHERE o.state = 'held' AND s.order_id IS NULL;

-- name: received
-- Units that came in, by SKU: what all pools and accounts of a SKU must add up to.
SELECT m.sku, sum(m.free)::bigint AS units
  FROM command_movements m JOIN codes c ON c.kind = 'action' AND c.code = m.action AND c.name = 'receive'
 GROUP BY 1;
