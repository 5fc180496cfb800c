"""Carries messages to one target: in order, each until it is taken or given up.

Messages of one order keep their order; as many orders as the target's `concurrency` allows go side by side. What is
given up is a dead letter before it is entered as such.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from random import uniform
from time import monotonic
from typing import NoReturn
from zlib import crc32

import msgspec

from streams.breakers import Breaker
from streams.core.decode import Undecodable
from streams.core.sinks import Plan, Target
from streams.core.wording import Wordings
from streams.dead_letters import Dead
from streams.errors import BreakerOpen, LedgerUnavailable, TargetRefused, TargetUnavailable, Unavailable
from streams.instants import to_datetime, to_ms
from streams.notify.taking import bury, render
from streams.notify.ways import Sink, open_sink
from streams.parts import Parts
from streams.retry import until_available
from streams.stores.deliveries import Deliveries, Done, Due, Lane
from streams.telemetry import DELIVERIES
from streams.topics import MESSAGE_ID_HEADER

AT_ONCE = 200
"""Messages of a target in memory."""
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 60.0
PASS_AFTER_TRIES = 3
"""A message that was not taken so often lets those of other orders pass."""
MOST_ASIDE = 1_000
"""Orders that wait aside at a time; with more of them it is the target that is down."""
IDLE_S = 1.0
"""How often to look for what another process has made due."""
ELSEWHERE_S = 5.0
"""How often to ask whether a lane that another process has is free."""
GAVE_UP = "gave_up"

logger = logging.getLogger(__name__)


class Carrier:
    """Carries messages to one target, for as long as it has the lane."""

    def __init__(self, target: Target, parts: Parts, deliveries: Deliveries, plan: Plan, wordings: Wordings) -> None:
        self.name = target.name
        self.awake = asyncio.Event()
        # A target is not slow before it is late: who takes three seconds for each message is still told each.
        late_s = target.bounds.timeout_s
        self.breaker = Breaker(
            f"target {target.name}",
            replace(
                parts.settings, breaker_slow_s=late_s, breaker_silent_s=max(late_s, parts.settings.breaker_silent_s)
            ),
        )
        self._target, self._parts, self._deliveries = target, parts, deliveries
        self._plan, self._wordings = plan, wordings
        self._aside: dict[bytes, tuple[float, int]] = {}

    async def run(self) -> NoReturn:
        """Take the lane whenever it is free, and deliver as long as the ledger lets us."""
        while True:
            try:
                async with self._deliveries.lane(self.name) as lane:
                    if lane is not None:
                        await self._carry(lane)
            except LedgerUnavailable as error:
                logger.warning("lane %s: %s", self.name, error)
            await asyncio.sleep(ELSEWHERE_S * uniform(0.8, 1.2))  # noqa: S311 - jitter, no secret

    async def _carry(self, lane: Lane) -> NoReturn:
        private = self._parts.settings.notify_private_targets
        async with open_sink(self._target, private=private) as sink:
            while True:
                self.awake.clear()
                now_s = monotonic()
                due = await lane.due(AT_ONCE, [key for key, (until_s, _) in self._aside.items() if until_s > now_s])
                if due:
                    await self.deliver(due, sink)
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(IDLE_S):
                            await self.awake.wait()

    async def deliver(self, due: Sequence[Due], sink: Sink) -> None:
        """Deliver some messages; returns when each is delivered or given up, and entered as such."""
        tracks: dict[int, list[Due]] = {}
        for one in due:
            tracks.setdefault(crc32(one.message.key or b"") % self._target.bounds.concurrency, []).append(one)
        async with asyncio.TaskGroup() as tasks:
            for track in tracks.values():
                tasks.create_task(self._follow(track, sink))

    async def _follow(self, track: Sequence[Due], sink: Sink) -> None:
        """One after the other. What was delivered is entered before anything waits, and at the end."""
        done: list[Done] = []
        put_aside: set[bytes] = set()
        try:
            for one in track:
                key = one.message.key or b""
                if key in put_aside:
                    continue
                result, tries = await self._until_settled(one, sink, done)
                if isinstance(result, Unavailable):
                    self._aside[key] = (monotonic() + _pause_s(tries, result), tries)
                    put_aside.add(key)
                    continue
                self._aside.pop(key, None)
                if result is not None:
                    await self._give_up(one, result)
                failed = None if result is None else f"{result.reason}: {result}"[:500]
                done.append(Done(one.message.delivery_id, tries, self._now(), failed))
        finally:
            await self._enter(done)

    async def _until_settled(
        self, one: Due, sink: Sink, done: list[Done]
    ) -> tuple[Unavailable | TargetRefused | None, int]:
        """Try until it is taken or given up, or may be put aside; returns what came of it, and after how many tries."""
        tries = self._aside.get(one.message.key or b"", (0.0, 0))[1]
        while True:
            result = await self._try(one, sink)
            tries += not isinstance(result, BreakerOpen)
            if not isinstance(result, Unavailable):
                return result, tries
            await self._enter(done)
            if self._is_too_old(one):
                return TargetRefused(GAVE_UP, f"after {tries} tries in this process: {result}"), tries
            if self._may_be_passed(result, tries):
                return result, tries
            await asyncio.sleep(_pause_s(tries, result))

    def _may_be_passed(self, result: Unavailable, tries: int) -> bool:
        """Whether others may go first: those of other orders, where the target takes several at a time anyway.

        What is wrong may be this one message, or the target; while its breaker is open it is the target.
        """
        return (
            self._target.bounds.concurrency > 1
            and tries >= PASS_AFTER_TRIES
            and isinstance(result, TargetUnavailable)
            and len(self._aside) < MOST_ASIDE
        )

    async def _try(self, due: Due, sink: Sink) -> Unavailable | TargetRefused | None:
        try:
            message = render(due.message, self._plan, self._wordings)
        except msgspec.DecodeError as error:
            return TargetRefused("unreadable", str(error))
        try:
            await self.breaker.call(sink.send, message, due.due_at.isoformat())
        except (Unavailable, TargetRefused) as error:
            logger.warning("%s: %s: %s", self.name, due.message.delivery_id, error)
            return error
        return None

    def _is_too_old(self, due: Due) -> bool:
        return self._parts.clock.now_ms() - to_ms(due.due_at) >= self._target.bounds.give_up_s * 1000

    async def _give_up(self, due: Due, why: TargetRefused) -> None:
        message = due.message
        headers = ((MESSAGE_ID_HEADER, message.delivery_id.encode()),)
        record = _Kept(message.offset, to_ms(due.due_at), message.key, message.value, headers)
        fix = f"see why {self.name} does not take it, then `floodway dlq replay --topic notifications`"
        dead = Dead(message.topic, message.partition, record, Undecodable(why.reason, str(why), None, fix))
        await bury(self._parts, [dead], [self.name])

    async def _enter(self, done: list[Done]) -> None:
        if done:
            entered = list(done)
            await until_available(
                "enter",
                lambda: self._deliveries.enter(self.name, entered),
                max_delay_s=self._parts.settings.retry_max_delay_s,
            )
            for outcome, number in Counter("failed" if one.failed else "delivered" for one in done).items():
                DELIVERIES.labels(self.name, outcome).inc(number)
            done.clear()

    def _now(self) -> datetime:
        return to_datetime(self._parts.clock.now_ms())


class _Kept(msgspec.Struct, frozen=True):
    """A record as the ledger kept it. Of its headers only the id matters, by which a replay is known."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def _pause_s(tries: int, error: Unavailable) -> float:
    """Until the next try: growing, or longer if we were told so, with jitter so that many do not come together."""
    told_s = error.retry_after_s or 0.0
    if isinstance(error, TargetUnavailable):
        grown_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(tries - 1, 20))
        told_s = max(told_s, error.asked_s, grown_s * uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
    return told_s * uniform(1.0, 1.2)  # noqa: S311
