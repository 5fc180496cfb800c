-- Sold units that go back on the shelf: what was asked for is written before the stock acts, and marked when the books
-- have it. An order may have several, of some lines or some units, each under a reference of its own. What moved stands
-- among the movements by command, under `order:ref`.
CREATE TABLE restocks (
    asked_at timestamptz NOT NULL,
    done_at timestamptz,
    order_id uuid NOT NULL,
    ref text COLLATE "C" NOT NULL,
    pool text COLLATE "C" NOT NULL,
    skus text[] COLLATE "C" NOT NULL,
    qtys integer[] NOT NULL,
    PRIMARY KEY (order_id, ref),
    CHECK (cardinality(skus) > 0 AND cardinality(skus) = cardinality(qtys) AND 0 < ALL (qtys))
);
CREATE INDEX restocks_open ON restocks (asked_at) WHERE done_at IS NULL;
INSERT INTO codes (kind, code, name) VALUES ('action', 9, 'restock');
