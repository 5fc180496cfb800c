"""The part of a run in each of Locust's processes that has users: its storefront, and its figures in the stats."""

import json
import logging
import threading
from typing import Any

from locust.env import Environment

from loadtest.swarm import measures
from loadtest.swarm.child import Child
from loadtest.swarm.words import Beat, Share, beat_from, plain, share_from
from streams.topics import DECIDED, SUBMITTED

logger = logging.getLogger("floodway")


class Session:
    """One share after another. Messages come from the director, see `locustfile`."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._child: Child | None = None
        self._ended = False
        self.share: Share | None = None
        self.started_at_ms = 0
        self.url = ""
        self.going = threading.Event()
        """Set from the moment at which the start is known."""

    def prepare(self, told: dict[str, Any]) -> None:
        """Start a storefront for a share; it says when it is ready."""
        self.end()
        self.share, self.url = share_from(told["share"]), str(told["url"])
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
        self.going.set()

    def stop(self) -> None:
        """Submit no more."""
        if self._child is not None:
            self._child.tell("stop")

    def end(self) -> None:
        """Let the storefront end. Idempotent."""
        child, self._child = self._child, None
        self.share = None
        if child is not None:
            child.end()

    def _hear(self, what: str, value: Any) -> None:
        match what:
            case "ready":
                self._say("ready", {"index": value})
            case "beat":
                self._note(beat_from(value))
                self._say("beat", value)
            case "ended":
                self._ended = True
                if self._child is not None:
                    self._child.let_go()
                self._say("ended", value)
            case "gone" if not self._ended and self.share is not None:
                self._say("lost", {"index": self.share.index, "code": value})

    def _say(self, what: str, data: dict[str, Any]) -> None:
        runner = self._environment.runner
        if runner is not None:
            runner.send_message(f"floodway-{what}", data)

    def _note(self, beat: Beat) -> None:
        stats, kinds = self._environment.stats, (measures.PRODUCE, measures.DECISION)
        why = (beat.why, "no decision in time")
        measures.add(stats, kinds[0], SUBMITTED.name, beat.produced, failed=beat.unproduced, why=why[0])
        measures.add(stats, kinds[1], DECIDED.name, beat.decided, failed=beat.timed_out, why=why[1])
