-- An epoch ends when the ledger moves to another server: what the old one had committed last may be lost with it, the
-- newest epoch too. The timeline tells, for each promotion begins a new one.

CREATE FUNCTION server_timeline() RETURNS integer LANGUAGE sql AS $$
    SELECT CASE WHEN pg_is_in_recovery() THEN 0
           ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::integer END
$$;

-- The release before knows nothing of the column, and issues epochs on the timeline that it stands on.
ALTER TABLE epochs ADD COLUMN timeline integer NOT NULL DEFAULT server_timeline();

CREATE OR REPLACE FUNCTION under_epoch(ours bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    newest bigint;
    issued_on integer;
BEGIN
    LOCK TABLE epochs IN ROW SHARE MODE;
    SELECT e.epoch, e.timeline INTO newest, issued_on FROM epochs e ORDER BY e.epoch DESC LIMIT 1;
    IF newest IS DISTINCT FROM ours THEN
        RAISE EXCEPTION '% %', ours, coalesce(newest, 0) USING ERRCODE = 'FW001';
    END IF;
    IF issued_on <> server_timeline() THEN
        RAISE EXCEPTION '% % %', ours, issued_on, server_timeline() USING ERRCODE = 'FW002';
    END IF;
END $$;
