"""Settings of the exporter and of its advice, read from the environment once, checked once, then frozen."""

from collections.abc import Mapping
from dataclasses import dataclass

from streams.core.autoscale import Policy
from streams.errors import SettingsError
from streams.settings import check_numbers, read

PREFIX = "FLOODWAY_EXPORTER_"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterSettings:
    """What can be set of the exporter. `autoscale_…` is about intake."""

    host: str = "127.0.0.1"
    """Where it serves."""
    port: int = 9308
    """Its port; that of kafka_exporter, whose names it has."""
    workers: str | None = None
    """Workers whose `/metrics` are read, as `host:port,…`; a name with several addresses (a headless service) is all of
    them. Those of `floodway worker` in the same directory are found without."""
    interval_s: float = 2.0
    """How often Kafka, Redis, Postgres and workers are looked at."""
    stock_interval_s: float = 15.0
    """How often all pools are added up."""
    books_interval_s: float = 300.0
    """How often Redis and the books are compared, as `floodway stock check` does."""
    timeout_s: float = 5.0
    """A store that takes longer to answer is down, as far as the exporter knows."""
    low_units: int = 10
    """A SKU with fewer free units is low."""

    autoscale_min: int = 1
    """Never fewer workers are advised."""
    autoscale_max: int = 12
    """Never more; more than there are partitions would idle."""
    autoscale_drain_s: float = 30.0
    """A backlog should be gone in this time."""
    autoscale_worker_per_s: float = 4_000.0
    """Orders that one worker decides in a second, until it has been seen at work."""
    autoscale_settle_s: float = 20.0
    """Workers that were added get so long to show what they bring."""
    autoscale_cool_s: float = 60.0
    """Fewer must have been enough for so long before one goes."""
    autoscale_slow_s: float = 0.25
    """A store whose smallest call takes longer is the bottleneck: nobody is added."""
    autoscale_slow_stage_s: float = 1.5
    """So is one over which the workers' stage takes longer with a batch."""

    def __post_init__(self) -> None:
        check_numbers(self, PREFIX)
        if self.autoscale_min > self.autoscale_max:
            raise SettingsError(
                f"{PREFIX}AUTOSCALE_MIN={self.autoscale_min} must be <= {PREFIX}AUTOSCALE_MAX={self.autoscale_max}."
            )
        if self.port > 65_535:
            raise SettingsError(f"{PREFIX}PORT={self.port} is no port.")
        for target in self.targets():
            host, _, port = target.rpartition(":")
            if not host or not port.isdecimal():
                raise SettingsError(f"{PREFIX}WORKERS: {target!r} is no address; write host:port, comma-separated.")

    def targets(self) -> list[str]:
        """The workers' addresses, as they were given."""
        return [target.strip() for target in (self.workers or "").split(",") if target.strip()]

    def policy(self) -> Policy:
        """What to aim for."""
        return Policy(
            least=self.autoscale_min,
            most=self.autoscale_max,
            drain_s=self.autoscale_drain_s,
            worker_per_s=self.autoscale_worker_per_s,
            settle_s=self.autoscale_settle_s,
            cool_s=self.autoscale_cool_s,
            slow_s=self.autoscale_slow_s,
            slow_stage_s=self.autoscale_slow_stage_s,
        )


def load_exporter(environ: Mapping[str, str] | None = None, **overrides: str | float | bool | None) -> ExporterSettings:
    """Read the settings from `environ` (the process' own by default); `overrides` win. Raises `SettingsError`."""
    return read(ExporterSettings, PREFIX, environ, **overrides)
