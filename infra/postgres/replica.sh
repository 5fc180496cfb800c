#!/usr/bin/env bash
# Run the streaming replica in a container: copy the primary where there is no copy of use, then follow it. Further
# arguments go to `postgres`.
set -euo pipefail
umask 077
settings=${SETTINGS:-/etc/floodway/postgres}
passfile=$(mktemp)
printf '*:*:*:replicator:%s\n' "$(cat "$REPLICATOR_PASSWORD_FILE")" > "$passfile"
source="host=${PRIMARY_HOST:-postgres} port=${PRIMARY_PORT:-5432} user=replicator passfile=$passfile"

ask() {
  psql --no-psqlrc --quiet --tuples-only --no-align --dbname "$source dbname=floodway connect_timeout=5" --command "$1"
}

is_of_use() {
  [ -s "$PGDATA/PG_VERSION" ] || return 1
  # A slot that is gone or fell too far behind (max_slot_wal_keep_size) cannot be mended. A primary that does not answer
  # says nothing about it, and people may read meanwhile.
  local usable
  usable=$(ask "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'replica' AND wal_status <> 'lost'") || return 0
  [ "$usable" = 1 ]
}

if ! is_of_use; then
  ask "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'replica'"
  ask "SELECT pg_create_physical_replication_slot('replica', true)"
  # Under another name until it is whole: half a copy must not look like one.
  rm -rf "$PGDATA" "$PGDATA.new"
  pg_basebackup --dbname "$source" --pgdata "$PGDATA.new" --slot replica --wal-method stream --checkpoint fast
  touch "$PGDATA.new/standby.signal"
  mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c "config_file=$settings/replica.conf" -c "hba_file=$settings/pg_hba.conf" \
  -c "primary_conninfo=$source application_name=replica" "$@"
