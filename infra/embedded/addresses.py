"""The parts of the embedded stack and where they listen."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

HOST = "127.0.0.1"


class Part(StrEnum):
    """One server of the stack; the value names its log file."""

    KAFKA = "kafka"
    REDIS = "redis"
    POSTGRES = "postgres"
    REPLICA = "replica"


class Broker(StrEnum):
    """Which program speaks Kafka's protocol: one static binary, in memory, or Apache Kafka itself."""

    TANSU = "tansu"
    KAFKA = "kafka"


class Standby(StrEnum):
    """What the replica is for beside reading: nothing, or taking the primary's place, with or without a loss."""

    NONE = "none"
    ASYNC = "async"
    SYNC = "sync"


def server_name(part: Part, node: int = 1) -> str:
    """What a server is called in ports, logs and directories: the first node of a part as the part itself."""
    return part.value if node == 1 else f"{part}-{node}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a client needs to know, in the form that each client library takes, and what the broker can do."""

    kafka_bootstrap: str
    redis_url: str
    postgres_dsn: str
    postgres_replica_dsn: str
    kafka_idempotent: bool = False
    topic_replication: int = 1
    topic_min_insync: int = 1

    @classmethod
    def of_ports(
        cls,
        ports: Mapping[str, int],
        broker: Broker = Broker.TANSU,
        nodes: int = 1,
        standby: Standby = Standby.NONE,
    ) -> "Addresses":
        """The addresses of a stack that listens on these ports of the loopback interface.

        With a standby, Postgres' addresses name both servers: which of them is the primary, they tell themselves.
        """
        primary, replica = (f"{HOST}:{ports[part]}" for part in (Part.POSTGRES, Part.REPLICA))
        writing, reading = f"{primary}/floodway", f"{replica}/floodway"
        if standby is not Standby.NONE:
            writing = f"{primary},{replica}/floodway?target_session_attrs=read-write"
            reading = f"{replica},{primary}/floodway?target_session_attrs=prefer-standby"
        brokers = (ports[server_name(Part.KAFKA, node)] for node in range(1, nodes + 1))
        return cls(
            kafka_bootstrap=",".join(f"{HOST}:{port}" for port in brokers),
            redis_url=f"redis://{HOST}:{ports[Part.REDIS]}/0",
            postgres_dsn=f"postgresql://floodway@{writing}",
            postgres_replica_dsn=f"postgresql://floodway@{reading}",
            kafka_idempotent=broker is Broker.KAFKA,
            topic_replication=nodes,
            topic_min_insync=nodes // 2 + 1,
        )

    def environment(self) -> dict[str, str]:
        """The addresses by the names of the environment variables that every command reads."""
        values = asdict(self) | {"kafka_idempotent": "true" if self.kafka_idempotent else "false"}
        return {f"FLOODWAY_{name.upper()}": str(value) for name, value in values.items()}
