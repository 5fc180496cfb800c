"""All settings, read from the environment once, checked once, then frozen.

Each field `name` is read from `FLOODWAY_NAME`; one that may hold a password also from the file that
`FLOODWAY_NAME_FILE` names. Units stand last in the name. Relations between settings are checked here, with an error
that names both.
"""

import math
import os
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args, get_origin

from streams.errors import SettingsError
from streams.server_addresses import wrong_with_brokers, wrong_with_postgres, wrong_with_redis

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")

PREFIX = "FLOODWAY_"
FILE_SUFFIX = "_FILE"

_SECRET_IN_URL = re.compile(r"(?<=:)[^:/@\s]+(?=@)|(?<=[?&]password=)[^&\s]+")
_INSTANCE = re.compile(r"[a-zA-Z0-9._-]{1,200}")
"""Kafka takes 249; the number of the process is added."""
_CHOICES = {
    "review_release": ("auto", "operator"),
    "log_level": ("DEBUG", "INFO", "WARNING", "ERROR"),
    "log_format": ("auto", "json", "text"),
    "kafka_security": ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "kafka_sasl_mechanism": ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
}
_ADDRESSES = {
    "kafka_bootstrap": wrong_with_brokers,
    "redis_url": wrong_with_redis,
    "postgres_dsn": wrong_with_postgres,
    "postgres_replica_dsn": wrong_with_postgres,
}
FROM_FILES = frozenset({"kafka_password", "redis_url", "postgres_dsn", "postgres_replica_dsn"})
"""What may hold a password may come from a file, too: its variable's name with `_FILE` names it."""
_MAY_BE_ZERO = frozenset({"review_after_s", "metrics_port", "log_one_in"})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """What can be set. Defaults suit one machine; `docs/settings.md` is generated from this class.

    Its text form hides passwords.
    """

    kafka_bootstrap: str = "127.0.0.1:9092"
    """Kafka brokers, `host:port`, comma-separated."""
    kafka_security: str = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, as the brokers' listener demands."""
    kafka_sasl_mechanism: str = "SCRAM-SHA-512"
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; used with SASL."""
    kafka_user: str | None = None
    """Who we are to Kafka; needed with SASL."""
    kafka_password: str | None = None
    """The user's password; needed with SASL. Give it by the environment only."""
    kafka_ca_file: str | None = None
    """PEM file with the certificate authority of the brokers; without one those that the system trusts."""
    kafka_idempotent: bool = True
    """Let the broker drop what a retry sends twice. The embedded broker cannot; `floodway up` says so by itself."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Redis or Valkey, version 7 or newer. With user and TLS: `rediss://user:password@host:6379/0?ssl_ca_certs=FILE`."""
    postgres_dsn: str = "postgresql://floodway@127.0.0.1:5432/floodway"
    """The primary: all writes, and reads that must not lag. With TLS: `…?sslmode=verify-full&sslrootcert=FILE`. With a
    standby: `postgresql://user@one:5432,two:5432/floodway?target_session_attrs=read-write`."""
    postgres_replica_dsn: str | None = None
    """The replica: what people read; several hosts with `…?target_session_attrs=prefer-standby`. Without one the
    primary is read."""

    topic_partitions: int = 12
    """Partitions of each topic when it is created; the bound of intake workers."""
    topic_replication: int = 1
    """Replicas of each partition when a topic is created; 3 where there are three brokers or more."""
    topic_min_insync: int = 1
    """So many replicas must have a record before it counts as written, when a topic is created; 2 of 3."""

    chunk_max_records: int = 2_000
    """Records of one partition handed over at once; idle, chunks are as small as what has arrived."""
    batch_max_orders: int = 4_000
    """Orders that share one round trip to Redis and one transaction in Postgres."""
    fetch_max_wait_ms: int = 50
    """How long the broker may hold back an empty fetch; the floor of latency when idle."""
    linger_ms: int = 10
    """Pause after a fetch that brought little, so that orders share round trips also when they trickle."""
    session_timeout_s: float = 10.0
    """A worker silent for so long loses its partitions."""
    group_instance_id: str | None = None
    """Kafka's `group.instance.id`: a worker that comes back under it within its session keeps its partitions, and no
    others are moved. Each host needs one of its own, `floodway worker` adds the process' number. Apache Kafka only."""
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
    """Connections to each Postgres server from one process; at least 2, for a rebuild of the stock holds one."""
    replica_wait_s: float = 0.5
    """How long a reader with a token waits for the replica before the primary is asked."""
    retry_max_delay_s: float = 5.0
    """Longest pause between tries of a call to a dependency that is down."""
    stock_auto_rebuild: bool = True
    """Rebuild the stock from the ledger when Redis was restarted or has lost data; `false` leaves that to people."""

    breaker_window_calls: int = 6
    """Calls to Redis, Postgres or Kafka that its circuit breaker looks back on, in each worker."""
    breaker_min_calls: int = 3
    """With fewer calls than this since it closed, a breaker does not open."""
    breaker_trip_share: float = 0.5
    """A breaker opens when this share of the calls it looks back on failed, or was slow."""
    breaker_slow_s: float = 2.0
    """A call that takes longer is slow to a breaker, even if it succeeds."""
    breaker_silent_s: float = 4.0
    """A breaker opens when somebody has waited for so long and nobody was answered meanwhile: the server hangs."""
    breaker_open_s: float = 2.0
    """How long an open breaker lets nothing through, give or take a fifth; workers take nothing in meanwhile."""
    breaker_probes: int = 2
    """Calls let through, one at a time, to see whether an open breaker may close."""

    review_after_s: float = 900.0
    """Nothing could be decided for so long: what waits goes to `orders.review.v1`, and buyers are told; 0 is never."""
    review_release: str = "auto"
    """auto: what is under review is decided as soon as it can be; operator: after `floodway review release`."""

    stall_timeout_s: float = 60.0
    """A worker before which records wait and nothing moves for so long ends, to be started again; not in an outage."""
    dead_letter_max_share: float = 0.9
    """A worker stops when more than this share of the last 1,000 messages could not be taken; 1 never stops it."""

    outbox_grace_s: float = 5.0
    """What a worker has not announced for so long, another announces; a second time if the first was only slow."""
    sources_dir: str | None = None
    """A folder with mappings of sources of one's own, beside those that come along; see docs/sources.md."""

    notify_file: str | None = None
    """Which events go to whom, see docs/notifications.md; without one they are written to the worker's log."""
    notify_templates_dir: str | None = None
    """A folder with texts of one's own, beside those that come along; see docs/notifications.md."""
    notify_private_targets: bool = False
    """Let webhooks go to loopback and private addresses too; off, so that nobody reaches into our network by them."""
    watch_file: str | None = None
    """What needs people, and when: the rules of the watch, see docs/watch.md; without one those that come along."""
    watch_interval_s: float = 30.0
    """How often the watch looks."""
    delivery_memory_s: float = 2_592_000.0
    """So long it is remembered what was delivered to whom; longer than Kafka keeps what may be read again."""

    ready_file: str | None = None
    """A worker makes this file once it has its partitions; its JSON tells how the breakers stand."""
    metrics_host: str = "127.0.0.1"
    """Where each process serves `/metrics`, `/livez` and `/readyz`."""
    metrics_port: int = 0
    """Its port there; where it is taken, the next of 16 that is free; 0 is any. A process tells it when it starts."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    log_format: str = "auto"
    """json: one object a line; text: lines for people; auto: text on a terminal, else json."""
    log_one_in: int = 0
    """One of so many decisions is logged, with its trace, order, partition and offset; 0 logs none."""
    tracing: bool = False
    """Send OpenTelemetry spans of stages, linked to their orders' traces; where to, `OTEL_…` variables say."""

    def __post_init__(self) -> None:
        _positive(self)
        _relation(self, "hold_ttl_s", "<", "dedupe_retention_s", "a repeat must not outlive the memory of its hold")
        for name in ("retry_max_delay_s", "postgres_timeout_s", "redis_timeout_s", "breaker_open_s"):
            _relation(self, name, "<", "stall_timeout_s", "waiting for a dependency must not look like a stall")
        _relation(self, "chunk_max_records", "<=", "batch_max_orders", "a chunk must fit a batch")
        _relation(self, "replica_wait_s", "<=", "postgres_timeout_s", "a wait must end before its statement does")
        _relation(self, "breaker_min_calls", "<=", "breaker_window_calls", "a breaker would never open")
        _relation(self, "breaker_slow_s", "<=", "breaker_silent_s", "a call is slow before its server is silent")
        if self.review_after_s:
            _relation(self, "breaker_open_s", "<", "review_after_s", "a store must have been tried again by then")
        if self.breaker_trip_share > 1:
            raise SettingsError(f"{PREFIX}BREAKER_TRIP_SHARE={self.breaker_trip_share} is over 1: it is a share.")
        if self.postgres_pool < 2:
            raise SettingsError(f"{PREFIX}POSTGRES_POOL=1 is too few: a rebuild of the stock takes 2 connections.")
        if self.metrics_port > 65_535:
            raise SettingsError(f"{PREFIX}METRICS_PORT={self.metrics_port} is no port.")
        for name in ("batch_max_orders", "expiry_batch"):
            if getattr(self, name) > 5_000:
                raise SettingsError(
                    f"{PREFIX}{name.upper()}={getattr(self, name)} is over 5000, the most orders in one script call."
                )
        _check_instance(self)
        _relation(self, "topic_min_insync", "<=", "topic_replication", "a write would never have enough replicas")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                among = f"{', '.join(choices[:-1])} or {choices[-1]}"
                given = masked(name, getattr(self, name))
                raise SettingsError(f"{PREFIX}{name.upper()}={given} is none of {among}.")
        for name, wrong_with in _ADDRESSES.items():
            address = getattr(self, name)
            wrong = None if address is None else wrong_with(address)
            if wrong is not None:
                raise SettingsError(f"{PREFIX}{name.upper()}={masked(name, address)} is no address: {wrong}.")
        if self.kafka_security.startswith("SASL") and not (self.kafka_user and self.kafka_password):
            raise SettingsError(
                f"{PREFIX}KAFKA_SECURITY={self.kafka_security} needs {PREFIX}KAFKA_USER and {PREFIX}KAFKA_PASSWORD."
            )

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{f.name}={masked(f.name, getattr(self, f.name))!r}' for f in fields(self))})"


def masked(name: str, value: object) -> object:
    """The value of a setting as it may be shown: without passwords."""
    if name.lower().removeprefix(PREFIX.lower()) == "kafka_password":
        return "***" if value else value
    return _SECRET_IN_URL.sub("***", value) if isinstance(value, str) else value


def environment(settings: Settings) -> dict[str, str]:
    """All settings as the variables that `load` reads, for a child that is to run with exactly these."""
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return {PREFIX + name.upper(): str(value) for name, value in values.items() if value is not None}


def _check_instance(settings: Settings) -> None:
    instance = settings.group_instance_id
    if instance is None:
        return
    if not _INSTANCE.fullmatch(instance):
        told = f"{PREFIX}GROUP_INSTANCE_ID={instance[:80]!r}"
        raise SettingsError(f"{told} must be 1 to 200 letters, digits, dots, dashes or underscores.")
    if not settings.kafka_idempotent:
        raise SettingsError(
            f"{PREFIX}GROUP_INSTANCE_ID={instance} needs a broker that knows static members, and "
            f"{PREFIX}KAFKA_IDEMPOTENT=false is for the embedded tansu, which does not; take "
            "`floodway up --broker kafka`, or leave the id out."
        )


def _positive(settings: Settings) -> None:
    check_numbers(settings, PREFIX)


def check_numbers(settings: "DataclassInstance", prefix: str) -> None:
    """Raise `SettingsError` unless every number of a settings object is finite and greater than 0."""
    for field in fields(settings):
        if field.name in _MAY_BE_ZERO and getattr(settings, field.name) == 0:
            continue
        value = getattr(settings, field.name)
        # nan is neither above nor below anything, so it would pass every comparison that asks for too little.
        if isinstance(value, int | float) and not isinstance(value, bool) and not 0 < value < math.inf:
            raise SettingsError(f"{prefix}{field.name.upper()}={value} must be finite and greater than 0.")


def _relation(settings: Settings, left: str, sign: str, right: str, why: str) -> None:
    a, b = getattr(settings, left), getattr(settings, right)
    if not (a < b if sign == "<" else a <= b):
        raise SettingsError(f"{PREFIX}{left.upper()}={a} must be {sign} {PREFIX}{right.upper()}={b}: {why}.")


def load(environ: Mapping[str, str] | None = None, **overrides: str | float | bool | None) -> Settings:
    """Read the settings from `environ` (the process' own by default); `overrides` win. Raises `SettingsError`."""
    return read(Settings, PREFIX, environ, **overrides)


def read(
    kind: type[S], prefix: str, environ: Mapping[str, str] | None = None, **overrides: str | float | bool | None
) -> S:
    """Read any frozen dataclass of settings, each field from the variable of its name behind `prefix`; see `load`."""
    environ = os.environ if environ is None else environ
    values: dict[str, str | float | bool | None] = {}
    for field in fields(kind):
        name = prefix + field.name.upper()
        text = environ.get(name) or (_in_file(environ, name) if field.name in FROM_FILES else None)
        if text:
            values[field.name] = _parse(name, text, field.type)
    values.update(overrides)
    return kind(**values)


def _in_file(environ: Mapping[str, str], name: str) -> str | None:
    """What the file holds that `NAME_FILE` names; the variable itself comes first. Raises `SettingsError`."""
    path = environ.get(name + FILE_SUFFIX)
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name}{FILE_SUFFIX}={path} cannot be read: {error}.") from error


def _parse(name: str, text: str, kind: object) -> str | float | bool:
    if get_origin(kind) is types.UnionType:
        kind = get_args(kind)[0]
    if kind is bool:
        if text.lower() not in {"true", "false"}:
            raise SettingsError(f"{name}={masked(name, text)!r} is not true or false.")
        return text.lower() == "true"
    try:
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{name}={masked(name, text)!r} is not {wanted}.") from None
    return text
