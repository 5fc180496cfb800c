-- What the exporter asks of Postgres, by name. Each is over in milliseconds, whatever the ledger holds.

-- name: probe
SELECT 1

-- name: waiting
SELECT (SELECT count(*) FROM (SELECT FROM outbox LIMIT 100000) AS found) AS unsaid,
       (SELECT count(*) FROM (SELECT FROM quarantine LIMIT 100000) AS found) AS quarantined,
       (SELECT count(*) FROM (SELECT FROM tickets WHERE closed_at IS NULL LIMIT 100000) AS found) AS tickets,
       pg_current_wal_flush_lsn()::text AS written

-- name: shown
SELECT greatest(0, pg_wal_lsn_diff($1::text::pg_lsn, pg_last_wal_replay_lsn()))::bigint AS bytes,
       greatest(0, extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))::float8 AS seconds
 WHERE pg_is_in_recovery()
