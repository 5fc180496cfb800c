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


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a client needs to know, in the form that each client library takes."""

    kafka_bootstrap: str
    redis_url: str
    postgres_dsn: str
    postgres_replica_dsn: str

    @classmethod
    def of_ports(cls, ports: Mapping[Part, int]) -> "Addresses":
        """The addresses of a stack that listens on these ports of the loopback interface."""
        return cls(
            kafka_bootstrap=f"{HOST}:{ports[Part.KAFKA]}",
            redis_url=f"redis://{HOST}:{ports[Part.REDIS]}/0",
            postgres_dsn=f"postgresql://floodway@{HOST}:{ports[Part.POSTGRES]}/floodway",
            postgres_replica_dsn=f"postgresql://floodway@{HOST}:{ports[Part.REPLICA]}/floodway",
        )

    def environment(self) -> dict[str, str]:
        """The addresses by the names of the environment variables that every command reads."""
        return {f"FLOODWAY_{name.upper()}": value for name, value in asdict(self).items()}
