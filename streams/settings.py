"""All settings, read from the environment once, checked once, then frozen.

Each field `name` is read from `FLOODWAY_NAME`. Units stand last in the name. Relations between settings are checked
here, with an error that names both.
"""

import math
import os
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import get_args, get_origin

from streams.errors import SettingsError

PREFIX = "FLOODWAY_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be set. Defaults suit one machine; `docs/settings.md` is generated from this class."""

    kafka_bootstrap: str = "127.0.0.1:9092"
    """Kafka brokers, `host:port`, comma-separated."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Redis or Valkey, version 7 or newer."""
    postgres_dsn: str = "postgresql://floodway@127.0.0.1:5432/floodway"
    """The primary: all writes, and reads that must not lag."""
    postgres_replica_dsn: str | None = None
    """The replica: what people read. Without one the primary is read."""

    topic_partitions: int = 12
    """Partitions of each topic when it is created; the bound of intake workers."""
    topic_replication: int = 1
    """Replicas of each partition when a topic is created."""

    chunk_max_records: int = 2_000
    """Records of one partition handed over at once; idle, chunks are as small as what has arrived."""
    batch_max_orders: int = 4_000
    """Orders that share one round trip to Redis and one transaction in Postgres."""
    fetch_max_wait_ms: int = 50
    """How long the broker may hold back an empty fetch; the floor of latency when idle."""
    session_timeout_s: float = 10.0
    """A worker silent for so long loses its partitions."""
    commit_interval_s: float = 1.0
    """How often offsets are committed; what a killed worker repeats at the most."""

    hold_ttl_s: float = 1_800.0
    """An accepted order's units are held for so long without payment."""
    dedupe_retention_s: float = 86_400.0
    """Redis remembers a submission for at least so long and at most twice as long; past that the ledger catches it."""
    expiry_interval_s: float = 0.5
    """How often holds are looked through for expired ones."""
    expiry_batch: int = 1_000
    """Holds ended in one script call."""

    redis_timeout_s: float = 5.0
    """A call to Redis that takes longer is given up and tried again."""
    postgres_timeout_s: float = 30.0
    """A statement that takes longer is given up and tried again."""
    postgres_pool: int = 4
    """Connections to each Postgres server from one process."""
    replica_wait_s: float = 0.5
    """How long a reader with a token waits for the replica before the primary is asked."""
    retry_max_delay_s: float = 5.0
    """Longest pause between tries of a call to a dependency that is down."""

    ready_file: str | None = None
    """A worker makes this file once it has its partitions: for supervisors, probes and tests to wait on."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    def __post_init__(self) -> None:
        _positive(self)
        _relation(self, "hold_ttl_s", "<", "dedupe_retention_s", "a repeat must not outlive the memory of its hold")
        _relation(self, "chunk_max_records", "<=", "batch_max_orders", "a chunk must fit a batch")
        _relation(self, "replica_wait_s", "<=", "postgres_timeout_s", "a wait must end before its statement does")
        for name in ("batch_max_orders", "expiry_batch"):
            if getattr(self, name) > 5_000:
                raise SettingsError(
                    f"{PREFIX}{name.upper()}={getattr(self, name)} is over 5000, the most orders in one script call."
                )
        if self.log_level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise SettingsError(f"{PREFIX}LOG_LEVEL={self.log_level} is no level; take DEBUG, INFO, WARNING or ERROR.")


def _positive(settings: Settings) -> None:
    for field in fields(settings):
        value = getattr(settings, field.name)
        # nan is neither above nor below anything, so it would pass every comparison that asks for too little.
        if isinstance(value, int | float) and not 0 < value < math.inf:
            raise SettingsError(f"{PREFIX}{field.name.upper()}={value} must be finite and greater than 0.")


def _relation(settings: Settings, left: str, sign: str, right: str, why: str) -> None:
    a, b = getattr(settings, left), getattr(settings, right)
    if not (a < b if sign == "<" else a <= b):
        raise SettingsError(f"{PREFIX}{left.upper()}={a} must be {sign} {PREFIX}{right.upper()}={b}: {why}.")


def load(environ: Mapping[str, str] | None = None, **overrides: str | int | float | None) -> Settings:
    """Read the settings from `environ` (the process' own by default); `overrides` win. Raises `SettingsError`."""
    environ = os.environ if environ is None else environ
    values: dict[str, str | int | float | None] = {}
    for field in fields(Settings):
        text = environ.get(PREFIX + field.name.upper())
        if text is not None and text != "":
            values[field.name] = _parse(field.name, text, field.type)
    values.update(overrides)
    return Settings(**values)  # type: ignore[arg-type]  # types are checked field by field in _parse


def _parse(name: str, text: str, kind: object) -> str | int | float:
    if get_origin(kind) is types.UnionType:
        kind = get_args(kind)[0]
    try:
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{PREFIX}{name.upper()}={text!r} is not {wanted}.") from None
    return text
