# The image runs this once, on an empty data directory, over the socket: roles, database, and the passwords that others
# on the container network need. Passwords come from files and stand in no argument list.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname template1 \
  --file "${SETTINGS:-/etc/floodway/postgres}/roles.sql" --file - <<'SQL'
\set floodway `cat "$OWNER_PASSWORD_FILE"`
\set replicator `cat "$REPLICATOR_PASSWORD_FILE"`
ALTER ROLE floodway PASSWORD :'floodway';
ALTER ROLE replicator PASSWORD :'replicator';
SQL
