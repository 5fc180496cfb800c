"""The edges: stock (Redis), ledger (Postgres), log (Kafka). Each has a fake that passes the same contract suite."""
