#!/bin/sh
# Run one node of Apache Kafka in a container: the settings that all nodes share, then what is this one's own, as
# infra/embedded/kafka.py does it without a container. Formats the data directory once.
set -eu
settings=${SETTINGS:-/etc/floodway/kafka}
data=${DATA_DIR:-/var/lib/kafka/data}
host=${BROKER_HOST:-kafka}
broker=${BROKER_PORT:-9092}
controller=${CONTROLLER_PORT:-9093}
outside=${OUTSIDE_PORT:-19092}
properties=$(mktemp)
{
  cat "$settings/server.properties"
  echo "node.id=1"
  echo "controller.quorum.voters=1@$host:$controller"
  # Producers on this machine come in by a listener of their own: the name `$host` means nothing to them.
  echo "listener.security.protocol.map=BROKER:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT"
  echo "listeners=BROKER://:$broker,OUTSIDE://:$outside,CONTROLLER://:$controller"
  echo "advertised.listeners=BROKER://$host:$broker,OUTSIDE://localhost:$outside"
  echo "log.dirs=$data/log"
} > "$properties"

logging="-Dlog4j2.configurationFile=$settings/log4j2.properties"
set -- -XX:-UsePerfData -Djava.awt.headless=true "$logging" -cp "${JARS:-/opt/kafka/libs}/*"
if [ ! -f "$data/log/meta.properties" ]; then
  # 16 bytes in base64; a letter first, or it would look like an option.
  cluster=A$(head -c 30 /dev/urandom | base64 | tr '+/' 'xy' | cut -c 1-20)A
  java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "$@" kafka.tools.StorageTool format \
    --cluster-id "$cluster" --config "$properties"
fi
exec java "-Xmx${HEAP_MB:-512}m" -XX:+UseG1GC "$@" kafka.Kafka "$properties"
