"""Which offsets may be committed: the book of chunks handed over and acknowledged. Pure."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

Partition = tuple[str, int]  # topic, number; Faust's TP and aiokafka's TopicPartition both are one


@dataclass(slots=True, eq=False)
class Ticket:
    """One handed-over chunk. `void` when its partition was taken away, or the reader moved, before it was settled."""

    tp: Partition
    first_offset: int
    next_offset: int
    records: int
    acked: bool = False
    void: bool = False


class OffsetTracker:
    """Per partition, the chunks handed over whose offsets cannot be committed yet, in order of hand-over.

    An offset may be committed when its chunk and every chunk handed over before it are acknowledged. Because whole
    chunks are compared in order of hand-over, and never offset with offset, gaps that compaction or transaction
    markers leave in a partition do not stall it. Memory grows with the chunks outstanding, which the caller bounds.
    """

    def __init__(self) -> None:
        self._outstanding: dict[Partition, deque[Ticket]] = {}
        self._delivered_to: dict[Partition, int] = {}
        self._committable: dict[Partition, int] = {}
        self._records = 0

    @property
    def records(self) -> int:
        """Records in outstanding chunks, over all partitions."""
        return self._records

    def chunks(self, tp: Partition) -> int:
        """Outstanding chunks of the partition: handed over, and their offsets not committable yet."""
        outstanding = self._outstanding.get(tp)
        return len(outstanding) if outstanding else 0

    def partitions(self) -> list[Partition]:
        """Partitions that have an offset to commit."""
        return list(self._committable)

    def delivered(self, tp: Partition, first_offset: int, next_offset: int, records: int = 0) -> Ticket:
        """Enter a chunk that is about to be handed over; the ticket acknowledges it later."""
        assert 0 <= first_offset < next_offset, f"empty chunk {first_offset}..{next_offset} of {tp}"
        before = self._delivered_to.get(tp, 0)
        assert first_offset >= before, f"{tp} went back from {before} to {first_offset} without a seek"
        ticket = Ticket(tp, first_offset, next_offset, records)
        self._outstanding.setdefault(tp, deque()).append(ticket)
        self._delivered_to[tp] = next_offset
        self._records += records
        return ticket

    def acked(self, ticket: Ticket) -> bool:
        """Enter an acknowledgement; False when it was acknowledged before, or belongs to an earlier assignment."""
        if ticket.void or ticket.acked:
            return False
        ticket.acked = True
        outstanding = self._outstanding[ticket.tp]
        while outstanding and outstanding[0].acked:
            done = outstanding.popleft()
            self._committable[done.tp] = done.next_offset
            self._records -= done.records
        return True

    def committable(self, tp: Partition) -> int | None:
        """The offset to commit, that is one past the acknowledged prefix; None before the first of this assignment."""
        return self._committable.get(tp)

    def revoked(self, tps: Iterable[Partition]) -> list[Ticket]:
        """Forget these partitions; returns the tickets that became void, whose later acknowledgements are ignored."""
        voided: list[Ticket] = []
        for tp in tps:
            for ticket in self._outstanding.pop(tp, ()):
                ticket.void = True
                self._records -= ticket.records
                voided.append(ticket)
            self._delivered_to.pop(tp, None)
            self._committable.pop(tp, None)
        return voided

    def reset(self) -> list[Ticket]:
        """Forget every partition."""
        return self.revoked(list(self._delivered_to))
