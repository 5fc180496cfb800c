"""The limits of the chunk transport: how much is fetched at a time, and how much may be on its way."""

import math
from collections.abc import Callable
from dataclasses import dataclass

SCHEME = "chunks"


def _never() -> float:
    return -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """What bounds fetching, hand-over and hand-back. Raises `ValueError` when two limits contradict each other.

    A chunk counts against both in-flight limits from its hand-over until its offsets can be committed, so a chunk
    that was acknowledged behind an unacknowledged head still counts: that bounds what a crash repeats.
    """

    chunk_max_records: int = 2_000
    max_inflight_chunks_per_partition: int = 4
    max_inflight_records: int = 20_000
    fetch_max_wait_ms: int = 50
    fetch_min_bytes: int = 1
    linger_ms: int = 10  # pause after a fetch that brought little: the next one brings more, at a fraction of the cost
    fetch_max_bytes: int = 16 * 1024 * 1024
    max_partition_fetch_bytes: int = 1024 * 1024
    handback_grace_s: float = 1.0  # how long a rebalance or a stop waits for chunks that an agent is working on
    stall_timeout_s: float = 60.0  # records wait and nothing moves for so long: the worker ends, see watchdog.py
    last_wait_s: Callable[[], float] = _never  # when something last waited for a dependency, by time.monotonic
    commit_timeout_s: float = 5.0  # how long a rebalance, a stop or a crash waits for the broker

    def __post_init__(self) -> None:
        for name in ("chunk_max_records", "max_inflight_chunks_per_partition", "fetch_max_wait_ms", "fetch_min_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.max_inflight_records < self.chunk_max_records:
            raise ValueError(
                f"max_inflight_records ({self.max_inflight_records}) is less than chunk_max_records "
                f"({self.chunk_max_records}): no full chunk could ever be handed over; raise the former"
            )
        if self.fetch_max_bytes < self.max_partition_fetch_bytes:
            raise ValueError(
                f"fetch_max_bytes ({self.fetch_max_bytes}) is less than max_partition_fetch_bytes "
                f"({self.max_partition_fetch_bytes}): raise the former"
            )
