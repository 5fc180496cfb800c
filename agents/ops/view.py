"""From two looks to a view: all that a person is shown of the installation, in figures. Pure."""

import math
from dataclasses import dataclass, field
from datetime import datetime

from agents.exporter.scraping import Told
from agents.ops.window import Look, Window, quantile
from agents.roles import READS, group
from streams import metrics
from streams.metrics import Metric
from streams.topics import SUBMITTED

STAGES = ("decode", "reserve", "persist", "announce")
STORES = ("kafka", "redis", "postgres")


@dataclass(frozen=True, slots=True)
class Flow:
    """Orders a second. None is what nobody told."""

    arriving: float | None = None
    decided: float | None = None
    accepted: float | None = None
    rejected: float | None = None
    repeated: float | None = None
    dead: float | None = None
    reported: float | None = None
    expired: float | None = None
    reasons: dict[str, float] = field(default_factory=dict)
    """Rejected, by reason."""


@dataclass(frozen=True, slots=True)
class Lag:
    """What a role has before it: records, the age of the first, and how long nothing was committed."""

    role: str
    records: float
    oldest_s: float
    stuck_s: float
    drain_s: float | None = None
    """When it is gone, where that is known; infinite while it does not shrink."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of intake in the window, a batch at a time."""

    name: str
    mean_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Store:
    """A store as the exporter sees it (None: nobody looked), and the workers' breakers around it by state."""

    name: str
    is_up: bool | None
    probe_s: float | None
    breakers: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pool:
    """Units of a pool over all its SKUs."""

    name: str
    free: float
    held: float
    sold: float
    skus: float
    low: float
    out: float


@dataclass(frozen=True, slots=True)
class Worker:
    """One process."""

    role: str
    url: str
    partitions: float
    in_flight: float
    per_s: float | None
    cpu_ratio: float | None
    memory_bytes: float
    loop_delay_s: float
    commit_age_s: float | None
    breakers: dict[str, str]
    """Those that are not closed, with their state."""


@dataclass(frozen=True, slots=True)
class Aside:
    """What waits beside the flow, and whether the books agree. None is what nobody told."""

    dead_letters: float | None = None
    under_review: float | None = None
    quarantined: float | None = None
    tickets: float | None = None
    outbox: float | None = None
    replica_delay_s: float | None = None
    replica_delay_bytes: float | None = None
    books_differences: float | None = None
    books_age_s: float | None = None
    epoch_mismatch: bool | None = None
    redis_memory_bytes: float | None = None
    redis_cpu_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """How many intake workers there are, and should be."""

    replicas: float | None
    desired: float | None
    held_back: bool


@dataclass(frozen=True, slots=True)
class View:
    """All of it, as it stood at a time."""

    at: datetime
    window_s: float
    has_exporter: bool
    flow: Flow
    p50_s: float | None
    p99_s: float | None
    lags: tuple[Lag, ...]
    stages: tuple[Stage, ...]
    stores: tuple[Store, ...]
    pools: tuple[Pool, ...]
    workers: tuple[Worker, ...]
    aside: Aside
    advice: Advice | None

    def lag(self, role: str) -> Lag | None:
        """What a role has before it."""
        return next((lag for lag in self.lags if lag.role == role), None)


def view(before: Look, now: Look, at: datetime) -> View:
    """How it stands `now`; rates and quantiles are those since `before`, which may be the same look: then none."""
    window = Window(before, now)
    latencies = window.buckets(metrics.LATENCY_S)
    teller = now.exporter or Told("", {})
    return View(
        at=at,
        window_s=window.seconds,
        has_exporter=now.exporter is not None,
        flow=_flow(window, before.exporter or Told("", {}), teller),
        p50_s=quantile(latencies, 0.5),
        p99_s=quantile(latencies, 0.99),
        lags=tuple(lag for role in READS if (lag := _lag(teller, role)) is not None),
        stages=tuple(_stage(window, name) for name in STAGES),
        stores=tuple(_store(teller, now, name) for name in STORES),
        pools=_pools(teller),
        workers=_workers(now, window, at),
        aside=_aside(teller, at),
        advice=_advice(teller),
    )


def _flow(window: Window, earlier: Told, teller: Told) -> Flow:
    decisions = metrics.DECISIONS
    return Flow(
        arriving=_arriving(earlier, teller),
        decided=window.per_s(decisions),
        accepted=window.per_s(decisions, outcome="accepted", replay="false"),
        rejected=window.per_s(decisions, outcome="rejected", replay="false"),
        repeated=window.per_s(decisions, replay="true"),
        dead=window.per_s(metrics.DEAD_LETTERS),
        reported=window.per_s(metrics.REPORTS),
        expired=window.per_s(metrics.EXPIRED),
        reasons=window.by(decisions, "reason", outcome="rejected", replay="false"),
    )


def _arriving(earlier: Told, teller: Told) -> float | None:
    """Between two looks of the exporter's own, whose pace is not ours; without them what it has made of more looks."""
    topic = frozenset({("topic", SUBMITTED.name)})
    seconds = teller.value(metrics.LAG_LOOKED.name) - earlier.value(metrics.LAG_LOOKED.name)
    ends, before = (
        sum(value for labels, value in told.samples.get(metrics.END.name, {}).items() if topic <= labels)
        for told in (teller, earlier)
    )
    if seconds > 0 and 0 < before <= ends:
        return (ends - before) / seconds
    return _told(teller, metrics.ARRIVING, topic=SUBMITTED.name)


def _lag(teller: Told, role: str) -> Lag | None:
    of = frozenset({("consumergroup", group(role))})
    sums, ages, stuck = (
        [value for labels, value in teller.samples.get(metric.name, {}).items() if of <= labels]
        for metric in (metrics.LAG_SUM, metrics.LAG_S, metrics.COMMIT_AGE)
    )
    if not sums:
        return None
    return Lag(
        role, sum(sums), max(ages, default=0.0), max(stuck, default=0.0), _told(teller, metrics.DRAIN_S, role=role)
    )


def _stage(window: Window, name: str) -> Stage:
    took = window.buckets(metrics.STAGE_S, stage=name)
    return Stage(name, window.mean(metrics.STAGE_S, stage=name), quantile(took, 0.99))


def _store(teller: Told, now: Look, name: str) -> Store:
    is_up = _told(teller, metrics.STORE_UP, store=name)
    breakers: dict[str, int] = {}
    for worker in now.workers:
        state = _breakers(worker).get(name)
        if state is not None:
            breakers[state] = breakers.get(state, 0) + 1
    probe_s = _told(teller, metrics.STORE_PROBE_S, store=name)
    return Store(name, None if is_up is None else bool(is_up), probe_s, breakers)


def _pools(teller: Told) -> tuple[Pool, ...]:
    units = teller.samples.get(metrics.STOCK_UNITS.name, {})
    names = dict.fromkeys(dict(labels)["pool"] for labels in units)
    found = []
    for name in sorted(names, key=lambda one: (one != "main", one)):
        accounts = {dict(labels)["account"]: value for labels, value in units.items() if ("pool", name) in labels}
        skus, low, out = (
            _told(teller, metric, pool=name) or 0.0
            for metric in (metrics.STOCK_SKUS, metrics.STOCK_SKUS_LOW, metrics.STOCK_SKUS_OUT)
        )
        free, held, sold = (accounts.get(account, 0.0) for account in ("free", "held", "sold"))
        found.append(Pool(name, free, held, sold, skus, low, out))
    return tuple(found)


def _workers(now: Look, window: Window, at: datetime) -> tuple[Worker, ...]:
    """By role and address; what is no worker, as the watch, is not in it."""
    found = [_worker(one, one.role, window, at) for one in now.workers if one.role is not None]
    return tuple(sorted(found, key=lambda worker: (worker.role, worker.url)))


def _worker(told: Told, role: str, window: Window, at: datetime) -> Worker:
    own = window.only(told.url)
    committed = _told(told, metrics.LAST_COMMIT)
    cpu = own.grown("process_cpu_seconds_total")
    return Worker(
        role=role,
        url=told.url,
        partitions=sum(told.samples.get(metrics.PARTITIONS.name, {}).values()),
        in_flight=_told(told, metrics.IN_FLIGHT) or 0.0,
        per_s=own.per_s(metrics.RECORDS),
        cpu_ratio=sum(cpu.values()) / own.seconds if cpu and not own.is_empty else None,
        memory_bytes=_known(told.value("process_resident_memory_bytes")) or 0.0,
        loop_delay_s=_told(told, metrics.LOOP_DELAY) or 0.0,
        commit_age_s=max(0.0, at.timestamp() - committed) if committed else None,
        breakers={name: state for name, state in _breakers(told).items() if state != "closed"},
    )


def _breakers(told: Told) -> dict[str, str]:
    states = [dict(labels) for labels, value in told.samples.get(metrics.BREAKER_STATE.name, {}).items() if value]
    return {one["dependency"]: one["state"] for one in states}


def _aside(teller: Told, at: datetime) -> Aside:
    letters = teller.samples.get(metrics.DEAD_LETTERS_KEPT.name, {})
    differences = teller.samples.get(metrics.BOOKS_DIFFERENCES.name, {})
    checked, mismatch = _told(teller, metrics.BOOKS_CHECKED), _told(teller, metrics.EPOCH_MISMATCH)
    return Aside(
        dead_letters=sum(letters.values()) if letters else None,
        under_review=_told(teller, metrics.UNDER_REVIEW),
        quarantined=_told(teller, metrics.QUARANTINED),
        tickets=_told(teller, metrics.TICKETS_OPEN),
        outbox=_told(teller, metrics.OUTBOX),
        replica_delay_s=_told(teller, metrics.REPLICA_DELAY_S),
        replica_delay_bytes=_told(teller, metrics.REPLICA_DELAY_BYTES),
        books_differences=sum(differences.values()) if differences else None,
        books_age_s=None if checked is None else max(0.0, at.timestamp() - checked),
        epoch_mismatch=None if mismatch is None else bool(mismatch),
        redis_memory_bytes=_told(teller, metrics.REDIS_MEMORY),
        redis_cpu_ratio=_told(teller, metrics.REDIS_CPU),
    )


def _advice(teller: Told) -> Advice | None:
    replicas, desired = (_told(teller, metric, role="intake") for metric in (metrics.REPLICAS, metrics.DESIRED))
    if desired is None:
        return None
    return Advice(replicas, desired, bool(_told(teller, metrics.HELD_BACK, role="intake")))


def _told(teller: Told, metric: Metric, **labels: str) -> float | None:
    return _known(teller.value(metric.name, **labels))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
