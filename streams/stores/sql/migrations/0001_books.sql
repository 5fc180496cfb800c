-- The books. Rows of orders are written once, by COPY, and never changed: where an order stands is what the last step
-- taken says. So there are no dead rows to clean up after, and each index takes one entry for each row, ever.
--
-- No foreign keys among the tables that orders fill: one transaction writes an order's rows together, nothing deletes
-- them, and a check per row would double the index look-ups of the hot path. Columns stand in order of alignment, the
-- widest first, so that no row carries padding. Texts that are keys use the C collation: comparing is memcmp, the order
-- is the same on every machine, and no upgrade of a collation library can break an index.

-- What the smallint columns mean, for people with a SQL prompt. The pipeline has the same table in Python; a test holds
-- the two together.
CREATE TABLE codes (
    code smallint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, code),
    UNIQUE (kind, name)
);
INSERT INTO codes (kind, code, name) VALUES
    ('verdict', 0, 'accepted'),
    ('verdict', 1, 'out_of_stock'),
    ('verdict', 2, 'unknown_sku'),
    ('verdict', 3, 'unknown_promotion'),
    ('verdict', 4, 'promotion_not_open'),
    ('verdict', 5, 'promotion_closed'),
    ('verdict', 6, 'not_in_promotion'),
    ('verdict', 7, 'buyer_limit'),
    ('verdict', 8, 'conflicting_repeat'),
    ('state', 0, 'held'),
    ('state', 1, 'confirmed'),
    ('state', 2, 'cancelled'),
    ('state', 3, 'expired'),
    ('state', 4, 'refund_due'),
    ('action', 0, 'receive'),
    ('action', 1, 'hold'),
    ('action', 2, 'confirm'),
    ('action', 3, 'release'),
    ('action', 4, 'expire'),
    ('action', 5, 'confirm_late'),
    ('action', 6, 'move'),
    ('action', 7, 'open'),
    ('action', 8, 'sweep');

-- One row for each submission key, whatever was decided; a rejection leaves what only an accepted order has empty. One
-- row because a row and its index entry cost more than all that stands in it: decision, order and lines apart took twice
-- the processor time for one line, and three times for five. The primary key is what makes "exactly one decision" true
-- whatever Redis and Kafka do. A channel's submission ids mostly rise and so do order ids (UUIDv7), so the newest leaves
-- of both indexes stay in memory.
--
-- The lines are arrays, as submitted, and at the same time the entry of the order's hold: `qtys[i]` units of `skus[i]`
-- left free and became held when the order was decided. Writing that entry a second time among the movements could only
-- ever disagree. `trace_id` is empty where it is the order id's own 32 digits.
CREATE TABLE decisions (
    decided_at timestamptz NOT NULL,
    submitted_at timestamptz NOT NULL,
    log_offset bigint NOT NULL,
    held_until timestamptz,
    total bigint,
    log_partition integer NOT NULL,
    verdict smallint NOT NULL,
    order_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    channel text COLLATE "C" NOT NULL,
    submission_id text COLLATE "C" NOT NULL,
    trace_id text COLLATE "C",
    buyer_id text COLLATE "C",
    currency text COLLATE "C",
    promotion_id text COLLATE "C",
    channel_order_no text COLLATE "C",
    ship_to json,
    skus text[] COLLATE "C",
    qtys integer[],
    unit_prices bigint[],
    PRIMARY KEY (channel, submission_id),
    UNIQUE (order_id),
    CHECK (CASE WHEN verdict = 0
           THEN num_nulls(held_until, total, buyer_id, currency, skus, qtys, unit_prices) = 0
                AND cardinality(skus) > 0 AND cardinality(skus) = cardinality(qtys)
                AND cardinality(skus) = cardinality(unit_prices) AND 0 < ALL (qtys)
           ELSE num_nonnulls(held_until, total, skus, qtys, unit_prices) = 0 END)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05);

-- Accepted orders, as they were decided. A state in here would have to be updated: orders that were decided together
-- are often paid or expire together, more of them than a page has room for, so most updates would not be HOT.
CREATE VIEW orders AS
    SELECT order_id, channel, submission_id, buyer_id, channel_order_no, currency, total, promotion_id,
           coalesce('promo:' || promotion_id, 'main') AS pool, submitted_at, decided_at, held_until,
           coalesce(trace_id, replace(order_id::text, '-', '')) AS trace_id, ship_to, skus, qtys, unit_prices,
           log_partition, log_offset
      FROM decisions
     WHERE verdict = 0;

-- Their lines one by one.
CREATE VIEW order_lines AS
    SELECT o.order_id, l.line_no::integer AS line_no, l.sku, l.qty, l.unit_price, o.pool, o.decided_at
      FROM orders o
     CROSS JOIN LATERAL unnest(o.skus, o.qtys, o.unit_prices)
           WITH ORDINALITY AS l (sku, qty, unit_price, line_no);

-- What moved for an order after its hold: confirmed, released, expired. `-` and `+` may stand in different pools.
CREATE TABLE order_movements (
    at timestamptz NOT NULL,
    free integer NOT NULL,
    held integer NOT NULL,
    sold integer NOT NULL,
    action smallint NOT NULL,
    order_id uuid NOT NULL,
    sku text COLLATE "C" NOT NULL,
    pool text COLLATE "C" NOT NULL,
    PRIMARY KEY (order_id, action, sku, pool),
    CHECK (free <> 0 OR held <> 0 OR sold <> 0)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1);

-- What moved by command: received, moved, opened, swept. Few rows, so their references may be text. A delivery (0) of no
-- units makes its SKU known.
CREATE TABLE command_movements (
    at timestamptz NOT NULL,
    free bigint NOT NULL,
    held bigint NOT NULL,
    sold bigint NOT NULL,
    action smallint NOT NULL,
    ref text COLLATE "C" NOT NULL,
    sku text COLLATE "C" NOT NULL,
    pool text COLLATE "C" NOT NULL,
    PRIMARY KEY (ref, action, sku, pool),
    CHECK (free <> 0 OR held <> 0 OR sold <> 0 OR action = 0)
);

-- Every entry of the books in one shape. Adding up `free`, `held` and `sold` over it gives any balance.
CREATE VIEW movements AS
    SELECT decided_at AS at, order_id::text AS ref, 'hold' AS action, sku, pool,
           -sum(qty) AS free, sum(qty) AS held, 0::bigint AS sold
      FROM order_lines
     GROUP BY order_id, decided_at, sku, pool
    UNION ALL
    SELECT m.at, m.order_id::text, c.name, m.sku, m.pool, m.free, m.held, m.sold
      FROM order_movements m JOIN codes c ON c.kind = 'action' AND c.code = m.action
    UNION ALL
    SELECT m.at, m.ref, c.name, m.sku, m.pool, m.free, m.held, m.sold
      FROM command_movements m JOIN codes c ON c.kind = 'action' AND c.code = m.action;

-- Every report that reached an order, also those that changed nothing: `state` is the state it entered, null when the
-- order stood elsewhere. `step_no` is the order of writing.
CREATE TABLE order_steps (
    at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    step_no bigint GENERATED ALWAYS AS IDENTITY,
    state smallint,
    order_id uuid NOT NULL,
    source text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    note text,
    PRIMARY KEY (order_id, source, event_id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1);

-- Orders as they stand now, for people with a SQL prompt.
CREATE VIEW orders_now AS
    SELECT c.name AS state, coalesce(s.at, o.decided_at) AS changed_at, o.*
      FROM orders o
      LEFT JOIN LATERAL (
           SELECT at, state FROM order_steps
            WHERE order_id = o.order_id AND state IS NOT NULL ORDER BY step_no DESC LIMIT 1) s ON true
      JOIN codes c ON c.kind = 'state' AND c.code = coalesce(s.state, 0);

CREATE TABLE conflicts (
    seen_at timestamptz NOT NULL,
    log_offset bigint NOT NULL,
    log_partition integer NOT NULL,
    fingerprint bytea NOT NULL,
    channel text COLLATE "C" NOT NULL,
    submission_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (channel, submission_id, fingerprint)
);

-- One row for each time that the stock was filled from these books. The first one makes the installation's id, which the
-- stock carries too: it tells whose stock it is.
CREATE TABLE epochs (
    issued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    epoch bigint PRIMARY KEY CHECK (epoch > 0),
    installation uuid NOT NULL DEFAULT gen_random_uuid(),
    reason text NOT NULL
);

-- First in every transaction that writes what the stock did under an epoch. Until it ends no newer epoch can be issued,
-- for that takes the table in EXCLUSIVE mode. Each statement of the function sees what is there when it begins: in one
-- statement the lock would be waited for with a view of the time before.
CREATE FUNCTION under_epoch(ours bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    newest bigint;
BEGIN
    LOCK TABLE epochs IN ROW SHARE MODE;
    SELECT max(epoch) INTO newest FROM epochs;
    IF newest IS DISTINCT FROM ours THEN
        RAISE EXCEPTION '% %', ours, coalesce(newest, 0) USING ERRCODE = 'FW001';
    END IF;
END $$;

CREATE TABLE promotions (
    opens_at timestamptz NOT NULL,
    closes_at timestamptz NOT NULL,
    buyer_limit integer NOT NULL CHECK (buyer_limit >= 0),
    promotion_id text COLLATE "C" PRIMARY KEY,
    state text COLLATE "C" NOT NULL CHECK (state IN ('opening', 'open', 'closing', 'closed', 'failed')),
    quota_skus text[] COLLATE "C" NOT NULL,
    quota_units bigint[] NOT NULL,
    CHECK (cardinality(quota_skus) = cardinality(quota_units))
);
