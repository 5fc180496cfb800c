r"""Reads records whose header names are no UTF-8, which Kafka takes and aiokafka's parser does not.

The parser's exception would come again with every fetch, and the partition would stand still behind one strange
record. `install` puts a reader in its place that parses such a batch once more, with the names' bad bytes written as
`\\xff`; key, value and header values stay byte for byte. aiokafka has no hook for that, so a name in its fetcher's
module is replaced (decision 0015); its version is pinned, and `tests/integration/test_strange_headers.py` notices when
that no longer holds.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


def install() -> None:
    """Make all consumers of this process read such records. Idempotent."""
    assert hasattr(fetcher, "MemoryRecords"), "aiokafka's fetcher parses elsewhere now"
    fetcher.MemoryRecords = LenientRecords


class LenientRecords(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka has no types
    """The batches of one partition in a fetch response."""

    def next_batch(self) -> Any:
        """The next batch, or None."""
        piece = self._next_slice
        batch = super().next_batch()
        return _Batch(batch, piece) if isinstance(batch, DefaultRecordBatch) else batch


class _Batch:
    """aiokafka's batch, and its bytes for a second look."""

    __slots__ = ("_batch", "_piece")

    def __init__(self, batch: Any, piece: memoryview) -> None:
        self._batch = batch
        self._piece = piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(iter(self._batch))

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except (UnicodeDecodeError, CorruptRecordException):
            return iter(list(_LenientBatch(self._piece)))  # raises again what has another cause


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """The slow parser, on bytes that can be read as text whatever they are."""

    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _LenientBytes(self._buffer)


class _LenientBytes(bytearray):
    """The parser slices a header's name out of the buffer and calls `decode` on it; nothing else is decoded."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _LenientBytes(found) if isinstance(at, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        r"""The text, with bytes that are none written as `\\xff`."""
        return super().decode(encoding, "backslashreplace")
