"""A worker that stands still ends, and its supervisor starts another: two watches, for two ways of standing still.

`StallWatch` compares what is in Kafka with what was acknowledged. A client that fetches nothing any more, an agent that
waits for something that never comes and a group that never finishes rebalancing look alike from there. Waiting for a
dependency that is down is no stall: such waits say so, see `streams.retry`. Pure.

`LoopWatch` is a thread that looks whether the event loop still turns.
"""

import asyncio
import faulthandler
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from time import sleep

Partition = tuple[str, int]

LOOK_INTERVAL_S = 1.0
EXIT_CODE = 70  # sysexits' EX_SOFTWARE

logger = logging.getLogger(__name__)


class Stalled(Exception):
    """Records wait in Kafka and nothing was acknowledged for too long; the worker stops, see its log for why."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a partition stands: what was read, what may be committed, what is in work, and where it ends."""

    read_to: int
    acknowledged_to: int | None
    chunks_in_work: int
    end: int

    @property
    def waiting(self) -> bool:
        """Whether there is anything to do."""
        return self.chunks_in_work > 0 or self.end > self.read_to


class StallWatch:
    """Notes when each partition last moved. `now_s` is any clock that does not go back."""

    def __init__(self, timeout_s: float, now_s: float) -> None:
        self._timeout_s = timeout_s
        self._seen: dict[Partition, tuple[int, int | None]] = {}
        self._moved_at_s: dict[Partition, float] = {}
        self._flowed_at_s = self._answered_at_s = now_s

    def look(
        self, now_s: float, standings: Mapping[Partition, Standing] | None, *, flowing: bool, excused_at_s: float
    ) -> str | None:
        """What stands still for longer than the timeout, in words; None when all is well.

        `standings` is None when the client's thread did not answer. `excused_at_s` is when something last said that it
        waits for a dependency.
        """
        if flowing:
            self._flowed_at_s = now_s
        if standings is not None:
            self._answered_at_s = now_s
            self._note(now_s, standings)
        bound_s = max(now_s - self._timeout_s, excused_at_s)
        if now_s - excused_at_s < self._timeout_s:
            return None
        # A group may take as long as its slowest member to rebalance, and its coordinator may move meanwhile.
        if self._flowed_at_s < bound_s - self._timeout_s:
            return f"no records may be read for {now_s - self._flowed_at_s:.0f} s: a rebalance does not end"
        if self._answered_at_s < bound_s:
            return f"the Kafka client does not answer for {now_s - self._answered_at_s:.0f} s"
        if not flowing or standings is None:
            return None
        stuck = {tp: s for tp, s in standings.items() if s.waiting and self._moved_at_s[tp] < bound_s}
        if not stuck:
            return None
        tp, standing = next(iter(stuck.items()))
        return f"{len(stuck)} partitions with records do not move, as {tp[0]}-{tp[1]}: {standing}"

    def _note(self, now_s: float, standings: Mapping[Partition, Standing]) -> None:
        for tp, standing in standings.items():
            marks = (standing.read_to, standing.acknowledged_to)
            if not standing.waiting or self._seen.get(tp) != marks:
                self._seen[tp] = marks
                self._moved_at_s[tp] = now_s
        for tp in self._seen.keys() - standings.keys():
            del self._seen[tp], self._moved_at_s[tp]


class LoopWatch:
    """Ends the process when its event loop has not turned for `timeout_s`; tells first where every thread stands.

    Looks are counted, not seconds: a process that was stopped and goes on has missed none.
    """

    def __init__(self, timeout_s: float) -> None:
        self._looks = max(2, round(timeout_s / LOOK_INTERVAL_S))
        self._beats = 0

    async def watch(self) -> None:
        """Beat until cancelled. Call it in the loop that is to be watched."""
        stop = threading.Event()
        threading.Thread(target=self._look, args=(stop,), name="loop-watch", daemon=True).start()
        try:
            while True:
                self._beats += 1
                await asyncio.sleep(LOOK_INTERVAL_S / 2)
        finally:
            stop.set()

    def _look(self, stop: threading.Event) -> None:
        missed, last = 0, -1
        while not stop.wait(LOOK_INTERVAL_S):
            beats = self._beats
            missed = missed + 1 if beats == last else 0
            last = beats
            if missed >= self._looks:
                end_now(f"the event loop has not turned for {missed} s")


def end_now(why: str, *, after_s: float = 0.0) -> None:
    """End this process without another word from it; what was not acknowledged is read again by others."""
    sleep(after_s)
    logger.critical("%s: ending this process", why)
    faulthandler.dump_traceback(all_threads=True)
    os._exit(EXIT_CODE)
