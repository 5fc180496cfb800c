-- The story of an order: what its parts have reached, what of it has to be told, and what waits for somebody.

-- `milestone` is what the report says was reached (kind 'milestone' in `codes`), of one shipment, one line, or all;
-- `advanced` that it was new, for a report that moved no stock. What an order has reached is the union over its steps,
-- so the order in which they were written does not matter. Adding columns with a constant default rewrites nothing, and
-- the release before writes its rows as it did.
ALTER TABLE order_steps
    ADD COLUMN milestone smallint,
    ADD COLUMN advanced boolean NOT NULL DEFAULT false,
    ADD COLUMN shipment text COLLATE "C",
    ADD COLUMN sku text COLLATE "C",
    ADD COLUMN raw_code text,
    ADD COLUMN zone text;

-- Carriers know parcels by their number only.
CREATE INDEX order_steps_shipment ON order_steps (shipment) WHERE shipment IS NOT NULL;

-- A channel's number is one order's. Where that was not so, the first keeps it; the submissions have it still.
UPDATE decisions later SET channel_order_no = NULL
 WHERE verdict = 0 AND channel_order_no <> ''
   AND EXISTS (SELECT FROM decisions first
                WHERE first.verdict = 0 AND first.channel = later.channel
                  AND first.channel_order_no = later.channel_order_no
                  AND (first.decided_at, first.order_id) < (later.decided_at, later.order_id));
CREATE UNIQUE INDEX decisions_channel_order_no ON decisions (channel, channel_order_no)
    WHERE verdict = 0 AND channel_order_no <> '';

-- What has to be told, written with the steps that cause it and taken away once it is sent: one row for a transaction,
-- in `body` a line of JSON for each message. Nobody but a person compresses it, it lives for milliseconds.
CREATE TABLE outbox (
    at timestamptz NOT NULL,
    batch text COLLATE "C" PRIMARY KEY,
    body text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE outbox ALTER COLUMN body SET STORAGE EXTERNAL;

-- Records of sources that cannot be taken yet, byte for byte: a code that is in no mapping, an order or a parcel that
-- nobody has told us of. `key` is what the order is looked for by.
CREATE TABLE quarantine (
    seen_at timestamptz NOT NULL,
    log_offset bigint NOT NULL,
    log_partition integer NOT NULL,
    reason text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    subject text NOT NULL,
    channel text COLLATE "C",
    channel_order_no text COLLATE "C",
    shipment text COLLATE "C",
    order_id uuid,
    value bytea NOT NULL,
    header_names bytea[] NOT NULL,
    header_values bytea[] NOT NULL,
    PRIMARY KEY (log_partition, log_offset)
);

-- One for each cause. `ticket_id` is its kind and subject, so the same cause finds its ticket again.
CREATE TABLE tickets (
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    ticket_id text COLLATE "C" PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    subject text NOT NULL,
    detail text NOT NULL,
    fix text NOT NULL
);

INSERT INTO codes (kind, code, name) VALUES
    ('milestone', 1000, 'unpaid'),
    ('milestone', 1010, 'payment_failed'),
    ('milestone', 1020, 'payment_pending'),
    ('milestone', 1030, 'authorised'),
    ('milestone', 1040, 'paid'),
    ('milestone', 1050, 'refund_due'),
    ('milestone', 1060, 'refunding'),
    ('milestone', 1070, 'partly_refunded'),
    ('milestone', 1090, 'refunded'),
    ('milestone', 2000, 'held'),
    ('milestone', 2020, 'expired'),
    ('milestone', 2040, 'sold'),
    ('milestone', 2090, 'cancelled'),
    ('milestone', 3000, 'waiting'),
    ('milestone', 3010, 'released'),
    ('milestone', 3015, 'warehouse_refused'),
    ('milestone', 3020, 'picking'),
    ('milestone', 3030, 'packed'),
    ('milestone', 3050, 'shipped'),
    ('milestone', 3060, 'in_transit'),
    ('milestone', 3065, 'ready_for_pickup'),
    ('milestone', 3070, 'out_for_delivery'),
    ('milestone', 3074, 'delivery_failed'),
    ('milestone', 3076, 'lost'),
    ('milestone', 3078, 'sent_back'),
    ('milestone', 3090, 'delivered'),
    ('milestone', 3100, 'completed'),
    ('milestone', 4000, 'kept'),
    ('milestone', 4010, 'return_requested'),
    ('milestone', 4015, 'return_rejected'),
    ('milestone', 4020, 'return_withdrawn'),
    ('milestone', 4030, 'return_approved'),
    ('milestone', 4040, 'return_sent'),
    ('milestone', 4050, 'return_received'),
    ('milestone', 4060, 'return_inspected'),
    ('milestone', 4090, 'return_closed');
