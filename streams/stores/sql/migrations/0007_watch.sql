-- The watch: tickets with a life of their own, what it has found, and how late sources are.

-- `clear_since`: the cause has been gone since then. The release before opens and closes tickets as it did.
ALTER TABLE tickets
    ADD COLUMN cause text NOT NULL DEFAULT '',
    ADD COLUMN seen_at timestamptz,
    ADD COLUMN affected bigint NOT NULL DEFAULT 1,
    ADD COLUMN level smallint NOT NULL DEFAULT 0,
    ADD COLUMN openings integer NOT NULL DEFAULT 1,
    ADD COLUMN clear_since timestamptz,
    ADD COLUMN acked_at timestamptz,
    ADD COLUMN acked_by text,
    ADD COLUMN closed_by text;

-- Who did what to a ticket, and when.
CREATE TABLE ticket_events (
    at timestamptz NOT NULL,
    event_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    affected bigint NOT NULL,
    level smallint NOT NULL,
    ticket_id text COLLATE "C" NOT NULL,
    event text COLLATE "C" NOT NULL,
    who text,
    note text
);
CREATE INDEX ticket_events_ticket ON ticket_events (ticket_id, event_no);

-- Steps are written in the order of their time: an index of a few kilobytes finds those of a window, and costs a writer
-- nothing. The watch looks at each window once.
CREATE INDEX order_steps_at ON order_steps USING brin (at) WITH (pages_per_range = 32, autosummarize = on);

-- How far each rule has looked.
CREATE TABLE watch_marks (
    looked_until timestamptz NOT NULL,
    rule text COLLATE "C" PRIMARY KEY
);

-- Orders that a rule has found, looked at again until they are well.
CREATE TABLE watch_orders (
    since timestamptz NOT NULL,
    order_id uuid NOT NULL,
    rule text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    PRIMARY KEY (rule, order_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- When each source was heard of last.
CREATE TABLE source_activity (
    last_at timestamptz NOT NULL,
    source text COLLATE "C" PRIMARY KEY
);

-- How late reports were, from their source's time to the ledger's: counts by five minutes and by size, each a tenth
-- larger than the one before, so that percentiles over any time add up.
CREATE TABLE source_delays (
    at timestamptz NOT NULL,
    reports bigint NOT NULL,
    delay_ms double precision NOT NULL,
    bucket smallint NOT NULL,
    source text COLLATE "C" NOT NULL,
    PRIMARY KEY (at, source, bucket)
);
