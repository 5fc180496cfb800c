-- Roles and database of Floodway, the same for `floodway up` and for Compose; in template1, so that the database inherits
-- the grants. One statement a line, as PostgreSQL's single-user mode wants it. Neither role is a superuser, so neither
-- can run programs or read the server's files.
CREATE ROLE floodway LOGIN;
CREATE ROLE replicator LOGIN REPLICATION;
GRANT pg_monitor, pg_signal_backend, pg_checkpoint TO floodway;
GRANT EXECUTE ON FUNCTION pg_wal_replay_pause(), pg_wal_replay_resume(), pg_switch_wal() TO floodway;
CREATE DATABASE floodway OWNER floodway;
