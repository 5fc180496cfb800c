-- What is on its way to webhooks, mail servers and logs, and what has arrived there.

-- One row for each message and target, taken away when it is delivered or given up. `seq` is the order of each target.
CREATE TABLE deliveries_due (
    due_at timestamptz NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    log_offset bigint NOT NULL,
    log_partition integer NOT NULL,
    target text COLLATE "C" NOT NULL,
    delivery_id text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    key bytea,
    value bytea NOT NULL,
    PRIMARY KEY (target, delivery_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX deliveries_due_seq ON deliveries_due (target, seq);

-- The book: who was told what, when, at which try; or why not, for what went to the dead letters.
CREATE TABLE deliveries (
    at timestamptz NOT NULL,
    tries integer NOT NULL,
    target text COLLATE "C" NOT NULL,
    delivery_id text COLLATE "C" NOT NULL,
    failed text,
    PRIMARY KEY (target, delivery_id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.1);
-- Rows come in the order of time: an index of a few kilobytes finds the last minutes, and costs an insert nothing.
CREATE INDEX deliveries_at ON deliveries USING brin (at) WITH (pages_per_range = 16, autosummarize = on);
