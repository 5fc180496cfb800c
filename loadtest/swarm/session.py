"""The part of a run in each of Locust's processes that has users: its storefront, and its figures in the stats."""

import json
import logging
import threading
import time
from collections import Counter
from typing import Any, NamedTuple

from locust.env import Environment

from loadtest.swarm import measures
from loadtest.swarm.child import Child
from loadtest.swarm.orders_due import OrdersDue
from loadtest.swarm.words import Beat, Share, beat_from, plain, share_from
from streams.topics import DECIDED, SUBMITTED

logger = logging.getLogger("floodway")


class Http(NamedTuple):
    """How orders go in over HTTP: where, how many in a request at the most, and by which token."""

    url: str = ""
    batch: int = 1
    token: str = ""


class Session:
    """One share after another. Messages come from the director, see `locustfile`."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._child: Child | None = None
        self._ended = False
        self.share: Share | None = None
        self.started_at_ms = 0
        self.http = Http()
        self.going = threading.Event()
        """Set from the moment at which the start is known."""
        self.due: OrdersDue | None = None
        """Orders to submit over HTTP; None where the storefront submits."""
        self._produced: Counter[int] = Counter()
        self._unproduced: Counter[str] = Counter()
        self._told_sent = 0

    def prepare(self, told: dict[str, Any]) -> None:
        """Start a storefront for a share; it says when it is ready."""
        self.end()
        self._produced.clear()
        self._unproduced.clear()
        self.share, self.http = share_from(told["share"]), Http(**told["http"])
        self.going.clear()
        self._ended = False
        bare = plain(self.share) | {"environment": {}}
        self._child = Child("loadtest.swarm.storefront", [json.dumps(bare)], self._hear, self.share.environment)

    def go(self, told: dict[str, Any]) -> None:
        """Begin at this moment, in milliseconds since 1970."""
        self.started_at_ms = int(told["started_at_ms"])
        self._environment.stats.total.start_time = self.started_at_ms / 1000  # what Locust's rates are counted from
        if self._child is not None:
            self._child.tell(str(self.started_at_ms))
        if self.share is not None and not self.share.sends:
            self.due, self._told_sent = OrdersDue(self.share, self.started_at_ms), 0
        self.going.set()

    def produced(self, intended_ms: float, problem: str = "") -> None:
        """An order was answered now, with 202 or with a problem."""
        if problem:
            self._unproduced[problem] += 1
        else:
            self._produced[int(time.time_ns() / 1e6 - intended_ms)] += 1

    def stop(self) -> None:
        """Submit no more. The storefront is told how many were submitted from here."""
        if self.due is not None:
            self.due.stopped = True
        if self._child is not None:
            self._child.tell(str(self.due.handed_out if self.due is not None else 0))

    def end(self) -> None:
        """Let the storefront end. Idempotent."""
        child, self._child = self._child, None
        self.share = self.due = None
        if child is not None:
            child.end()

    def _hear(self, what: str, value: Any) -> None:
        match what:
            case "ready":
                self._say("ready", {"index": value})
            case "beat":
                beat = self._with_own(beat_from(value))
                self._note(beat)
                self._say("beat", plain(beat))
            case "ended":
                self._ended = True
                if self._child is not None:
                    self._child.let_go()
                if self.due is not None:
                    value["sent"], value["late_ms_max"] = self.due.handed_out, round(self.due.late_ms_max, 1)
                self._say("ended", value)
            case "gone" if not self._ended and self.share is not None:
                self._say("lost", {"index": self.share.index, "code": value})

    def _with_own(self, beat: Beat) -> Beat:
        """What was submitted from here, which the storefront knows nothing of."""
        if self.due is not None:
            beat.sent, self._told_sent = self.due.handed_out - self._told_sent, self.due.handed_out
            beat.produced, beat.unproduced = dict(self._produced), self._unproduced.total()
            beat.why = ", ".join(sorted(self._unproduced))
            self._produced.clear()
            self._unproduced.clear()
        return beat

    def _say(self, what: str, data: dict[str, Any]) -> None:
        runner = self._environment.runner
        if runner is not None:
            runner.send_message(f"floodway-{what}", data)

    def _note(self, beat: Beat) -> None:
        stats, kinds = self._environment.stats, (measures.PRODUCE, measures.DECISION)
        why = (beat.why, "no decision in time")
        measures.add(stats, kinds[0], SUBMITTED.name, beat.produced, failed=beat.unproduced, why=why[0])
        measures.add(stats, kinds[1], DECIDED.name, beat.decided, failed=beat.timed_out, why=why[1])
