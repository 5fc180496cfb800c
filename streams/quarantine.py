"""Records of sources that wait: kept byte for byte with a ticket for each unknown code, and taken once they can be."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from streams import reports
from streams.chunks import Record
from streams.core.books import Quarantined
from streams.core.normalise import Normaliser, Said
from streams.instants import to_datetime
from streams.outbox import Outbox
from streams.parts import Parts
from streams.reports import UNKNOWN_CODE, Reported, Waited, Waiting
from streams.retry import until_available

AT_ONCE = 500
"""Records that are taken from quarantine in one go."""

Apply = Callable[[Sequence[Reported]], Awaitable[tuple[list[Record], list[Record]]]]
"""Applies reports; returns the records that the stock has lost, and those of unknown orders."""


class Quarantine:
    """Keeps what has to wait. One for each process: `sources` are the mappings that it has read when it was started."""

    def __init__(self, parts: Parts, sources: Mapping[str, Normaliser], outbox: Outbox) -> None:
        self._parts, self._sources, self._outbox = parts, sources, outbox
        self._max_delay_s = parts.settings.retry_max_delay_s
        self._has_codes = False

    async def keep(self, waiting: Sequence[Waiting], partition: int) -> None:
        """Keep what has to wait, open tickets for codes that nobody knows, and tell of those."""
        if not waiting:
            return
        now = to_datetime(self._parts.clock.now_ms())
        records = [reports.quarantined(one, partition, now) for one in waiting]
        tickets, ledger = reports.tickets(waiting, now), self._parts.ledger
        opened = await until_available(
            "quarantine", lambda: ledger.quarantine(records, tickets), max_delay_s=self._max_delay_s
        )
        await self._outbox.send(opened)

    async def take(self, apply: Apply) -> int:
        """Take records that waited for an order or parcel which is known by now; returns how many were taken.

        The first time also those with codes that a mapping has by now, and their tickets are closed.
        """
        taken = 0
        if not self._has_codes:
            taken += await self._take_codes(apply)
            self._has_codes = True
        ledger = self._parts.ledger
        found = await until_available("quarantine", lambda: ledger.resolvable(AT_ONCE), max_delay_s=self._max_delay_s)
        return taken + await self._take(found, apply)

    async def _take_codes(self, apply: Apply) -> int:
        ledger, count = self._parts.ledger, 0
        codes = [f"{name}:{code}" for name, source in self._sources.items() for code in source.mapping.codes]
        while found := await until_available(
            "quarantine", lambda: ledger.quarantined(UNKNOWN_CODE, AT_ONCE, codes), max_delay_s=self._max_delay_s
        ):
            taken = await self._take(found, apply)
            count += taken
            if not taken:
                break
        now = to_datetime(self._parts.clock.now_ms())
        ids = [f"{UNKNOWN_CODE}:{code}" for code in codes]
        closed = await until_available("tickets", lambda: ledger.close_tickets(ids, now), max_delay_s=self._max_delay_s)
        await self._outbox.send(closed)
        return count

    async def _take(self, found: Sequence[Quarantined], apply: Apply) -> int:
        """Take what can be; what waits for something else by now waits for that."""
        if not found:
            return 0
        said: list[tuple[Record, Said]] = []
        for waiting in found:
            source = self._sources.get(waiting.source)
            one = None if source is None else source.read(waiting.value, waiting.headers)
            if isinstance(one, Said):
                said.append((Waited(waiting), one))
        resolved, unknown = await reports.find_orders(said, self._parts)
        lost, strangers = await apply(resolved)
        left = {id(record) for record in [*lost, *strangers, *(record for record, _ in unknown)]}
        taken = [record.waiting for record, _ in said if isinstance(record, Waited) and id(record) not in left]
        await until_available("release", lambda: self._parts.ledger.release(taken), max_delay_s=self._max_delay_s)
        # A code that is known by now, of an order that is not: from now on it waits for that.
        codes = [(r, one) for r, one in unknown if isinstance(r, Waited) and r.waiting.reason == UNKNOWN_CODE]
        for record, one in codes:
            await self.keep([Waiting(record, one.source, one.ref)], record.waiting.partition)
        return len(taken) + len(codes)
