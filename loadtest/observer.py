"""Watches `orders.decided.v1` as any consumer would, and measures latency from the intended time of submission."""

from array import array
from collections import Counter
from datetime import datetime
from time import time_ns

import msgspec

from streams.messages import Outcome, Reason
from streams.stores.reader_kafka import TopicReader


class _Seen(msgspec.Struct, gc=False):
    """The part of a decision that is looked at."""

    order_id: str
    outcome: Outcome
    submitted_at: datetime
    reason: Reason | None = None
    replay: bool = False
    promotion_id: str | None = None


class Tally:
    """What was announced."""

    def __init__(self) -> None:
        self.decided = 0
        self.replayed = 0
        self.conflicts = 0
        self.rejected: Counter[str] = Counter()
        self.accepted: list[str] = []
        self.accepted_by_promotion: Counter[str] = Counter()
        self.latencies_ms = array("d")
        self.last_at_ms = 0.0

    def add(self, seen: _Seen, now_ms: float) -> None:
        """Count one decision that was received now."""
        self.decided += 1
        self.last_at_ms = now_ms
        self.latencies_ms.append(now_ms - seen.submitted_at.timestamp() * 1000)
        if seen.reason is Reason.CONFLICTING_REPEAT:
            self.conflicts += 1
        elif seen.replay:
            self.replayed += 1
        elif seen.outcome is Outcome.REJECTED:
            self.rejected[str(seen.reason)] += 1
        else:
            self.accepted.append(seen.order_id)
            if seen.promotion_id is not None:
                self.accepted_by_promotion[seen.promotion_id] += 1

    def latency_ms(self, *quantiles: float) -> list[float]:
        """Latency at these quantiles, milliseconds; 0 when nothing was seen."""
        ordered = sorted(self.latencies_ms)
        if not ordered:
            return [0.0 for _ in quantiles]
        return [round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 1) for q in quantiles]


class Observer:
    """Reads decisions from where the topic ended when it was made."""

    def __init__(self, reader: TopicReader) -> None:
        self._reader = reader
        self._decode = msgspec.json.Decoder(_Seen).decode
        self.tally = Tally()

    async def look(self, *, timeout_s: float = 0.1) -> None:
        """Count what has arrived."""
        arrived = await self._reader.next(timeout_s=timeout_s)
        now_ms = time_ns() / 1e6
        for records in arrived.values():
            for record in records:
                if record.value is not None:
                    self.tally.add(self._decode(record.value), now_ms)
