"""A plan's records in a file: frames of some thousand records, so that the generator holds one at a time."""

import contextlib
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from loadtest.plan import Plan, Planned

FRAME_RECORDS = 2_000
LENGTH_BYTES = 4

Row = tuple[int, int, bytes | None, bytes]
"""A `Planned` as plain tuple: half as dear to decode."""


class PlanFiles(NamedTuple):
    """Where a plan is written: its records for the generator, its counts of sends for the observer.

    `report` is where the observer writes what it saw.
    """

    records: Path
    sends: Path
    report: Path


@contextlib.contextmanager
def written(plan: Plan) -> Iterator[PlanFiles]:
    """A plan in files, deleted at the end of the block. A million orders of one line take 300 MB and some seconds."""
    with tempfile.TemporaryDirectory(prefix="floodway-") as directory:
        files = PlanFiles(*(Path(directory) / name for name in PlanFiles._fields))
        with files.records.open("wb") as file:
            for frame in _frames(plan.records):
                packed = msgspec.msgpack.encode(frame)
                file.write(len(packed).to_bytes(LENGTH_BYTES) + packed)
        files.sends.write_bytes(plan.sends.tobytes())
        yield files


def read(path: Path) -> Iterator[list[Row]]:
    """The records of a file, frame by frame."""
    decode = msgspec.msgpack.Decoder(list[Row]).decode
    with path.open("rb") as file:
        while length := file.read(LENGTH_BYTES):
            yield decode(file.read(int.from_bytes(length)))


def read_sends(path: Path) -> "array[int]":
    """How often each submission is sent, by its number."""
    sends = array("H")
    sends.frombytes(path.read_bytes())
    return sends


def _frames(records: Iterable[Planned]) -> Iterator[list[Planned]]:
    rest = iter(records)
    while frame := list(islice(rest, FRAME_RECORDS)):
        yield frame
