-- An order is found by the trace that it was submitted under. One that came without a trace has its own id for one, which
-- another index has already, so it takes no entry here. Orders of one batch share a trace: a unique index it cannot be.
CREATE INDEX decisions_trace_id ON decisions (trace_id) WHERE trace_id IS NOT NULL;
