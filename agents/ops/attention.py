"""What in a view needs somebody's attention, in words, the worst first; all else is shown without colour. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from agents.ops.view import View

STUCK_S = 15.0
REPLICA_LATE_S = 10.0
LOOP_LATE_S = 0.5
NEEDED = ("intake", "lifecycle")
"""Roles without which orders stand still."""
NAMES = {"kafka": "Kafka", "redis": "Redis", "postgres": "Postgres"}


class Level(StrEnum):
    """How bad it is: orders stand still or books are wrong; or somebody should look; or a part isn't there."""

    BAD = "bad"
    LOOK = "look"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Note:
    """One thing, in a sentence."""

    level: Level
    words: str


def notes(seen: View) -> list[Note]:
    """All there is to say, the worst first."""
    order = list(Level)
    return sorted((*_missing(seen), *_stores(seen), *_flow(seen), *_aside(seen)), key=lambda n: order.index(n.level))


def _missing(seen: View) -> Iterator[Note]:
    if not seen.has_exporter and not seen.workers:
        yield Note(
            Level.MISSING,
            "Nothing of Floodway is to be seen from here. Start `floodway up`, `floodway worker` and "
            "`floodway exporter` in this directory.",
        )
    elif not seen.has_exporter:
        yield Note(
            Level.MISSING, "No exporter answers: lag, stores and stock are not known. `floodway exporter` starts one."
        )
    elif not seen.workers:
        yield Note(
            Level.MISSING, "No worker is to be seen: rates and latency are not known. `floodway worker` starts some."
        )


def _stores(seen: View) -> Iterator[Note]:
    for store in seen.stores:
        name, all_ = NAMES[store.name], sum(store.breakers.values())
        if store.is_up is False:
            yield Note(Level.BAD, f"{name} does not answer the exporter.")
        if opened := store.breakers.get("open", 0):
            yield Note(
                Level.BAD, f"The breaker around {name} is open in {opened} of {all_} workers: they take nothing."
            )
        if trying := store.breakers.get("half_open", 0):
            yield Note(Level.LOOK, f"{trying} of {all_} workers try whether {name} is back.")
    if seen.aside.epoch_mismatch:
        yield Note(Level.BAD, "Stock and books are not under the same epoch: nothing is decided until it is rebuilt.")
    if (seen.aside.replica_delay_s or 0.0) > REPLICA_LATE_S:
        yield Note(Level.LOOK, f"The replica is {seen.aside.replica_delay_s:,.0f} s behind: readers see old orders.")


def _flow(seen: View) -> Iterator[Note]:
    roles = {worker.role for worker in seen.workers}
    for lag in seen.lags:
        if lag.role not in {*roles, *NEEDED}:
            continue  # who sends no notices has no worker for them
        if lag.records and seen.workers and lag.role not in roles:
            yield Note(Level.BAD, f"{lag.records:,.0f} records wait, and no {lag.role} worker is to be seen.")
        elif lag.stuck_s > STUCK_S:
            yield Note(
                Level.BAD, f"{lag.role.capitalize()} has lag and has committed nothing for {lag.stuck_s:,.0f} s."
            )
    for worker in seen.workers:
        if worker.loop_delay_s > LOOP_LATE_S:
            late_s = worker.loop_delay_s
            yield Note(Level.LOOK, f"The {worker.role} worker at {worker.url} is {late_s:,.1f} s late with everything.")
    if seen.flow.dead:
        yield Note(Level.LOOK, f"{seen.flow.dead:,.1f} records a second cannot be taken: see `floodway dlq list`.")
    advice = seen.advice
    if advice is None or advice.desired is None or advice.replicas is None:
        return
    if advice.held_back:
        yield Note(Level.LOOK, "The lag asks for more intake workers, and they would not help: see /autoscale.")
    elif advice.desired > advice.replicas > 0:
        yield Note(Level.LOOK, f"{advice.desired:,.0f} intake workers are advised, there are {advice.replicas:,.0f}.")


def _aside(seen: View) -> Iterator[Note]:
    aside = seen.aside
    if aside.books_differences:
        yield Note(
            Level.BAD, f"Redis and the books differ in {aside.books_differences:,.0f} places: `floodway stock check`."
        )
    if aside.under_review:
        yield Note(Level.LOOK, f"{aside.under_review:,.0f} orders are under review: `floodway review list`.")
    if aside.tickets:
        yield Note(Level.LOOK, f"{aside.tickets:,.0f} tickets are open: `floodway tickets list`.")
