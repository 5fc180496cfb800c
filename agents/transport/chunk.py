"""A chunk: the records of one partition that came out of one fetch, and the one way to acknowledge them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from faust.types.tuples import ConsumerMessage

from streams.chunks import Record


def _nobody_listens() -> bool:
    return False


@dataclass(slots=True, eq=False)
class Chunk:
    """Consecutive records of one partition, at least one, in offset order; raw, as aiokafka made them.

    An agent that has made the effects of all of them durable calls `acknowledge()`, at once or later, from any task
    of the worker's event loop and in any order; nothing else acknowledges a chunk. Offsets may have gaps.
    """

    topic: str
    partition: int
    records: Sequence[Record]
    on_acknowledge: Callable[[], bool] = field(default=_nobody_listens, repr=False)

    def __post_init__(self) -> None:
        assert self.records, "a chunk has at least one record"

    def __len__(self) -> int:
        return len(self.records)

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return self.records[0].offset

    @property
    def last_offset(self) -> int:
        """Offset of the last record."""
        return self.records[-1].offset

    @property
    def next_offset(self) -> int:
        """Offset to commit once this chunk, and all before it, are done."""
        return self.records[-1].offset + 1

    def acknowledge(self) -> bool:
        """Say that every record of the chunk is durably dealt with; its offsets may be committed.

        Returns False, and changes nothing, when it was acknowledged before or its partition was taken away since: the
        records then come again, here or elsewhere.
        """
        return self.on_acknowledge()


class ChunkMessage(ConsumerMessage):
    """The Faust message that carries a chunk as its value. To Faust it is born acknowledged.

    Faust acknowledges whatever leaves a stream's loop body, an exception included, and does so in three places: the
    `finally` of `Stream._py_aiter`, the compiled `StreamIterator.after`, which writes into the consumer's tables past
    every method, and `Event.__aexit__`. All three do nothing when `message.acked` is already true. So Faust's own
    acknowledgement is a no-op here by construction, and `Chunk.acknowledge` is the only way.
    """

    __slots__ = ()

    @classmethod
    def of(cls, chunk: Chunk, tp: tuple[str, int], generation_id: int) -> "ChunkMessage":
        """Wrap a chunk. The offset is the last one, so that Faust's monitor sees how far was read."""
        last = chunk.records[-1]
        message = cls(
            chunk.topic,
            chunk.partition,
            last.offset,
            last.timestamp / 1000.0,
            0,
            None,
            None,
            chunk,
            None,
            0,
            0,
            tp,
            generation_id=generation_id,
        )
        message.acked = True
        return message

    def ack(self, consumer: object, n: int = 1) -> bool:
        """Do nothing: see the class."""
        return False

    def on_final_ack(self, consumer: object) -> bool:
        """Do nothing: see the class."""
        return False
