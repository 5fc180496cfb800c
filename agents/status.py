"""How a worker stands, as a file: there once it has had partitions, rewritten whenever a breaker changes.

For supervisors and probes, that only look whether it is there, and for people and drills, that read it.
"""

import os
from dataclasses import asdict
from pathlib import Path

import orjson

from streams.breakers import Breakers
from streams.clock import Clock
from streams.instants import to_datetime


class StatusFile:
    """`FLOODWAY_READY_FILE`, one JSON object: `at`, `breakers` by name, and what is `told` of the process.

    Without a path it does nothing.
    """

    def __init__(self, path: Path | None, breakers: Breakers, clock: Clock) -> None:
        self._path, self._breakers, self._clock = path, breakers, clock
        self._ready = False
        self._told: dict[str, object] = {"pid": os.getpid()}
        breakers.on_change(self.write)

    def ready(self) -> None:
        """Make the file: the worker has partitions."""
        self._ready = True
        self.write()

    def tell(self, name: str, value: object) -> None:
        """Have something told of this process beside the rest."""
        self._told[name] = value
        self.write()

    def write(self) -> None:
        """Write how things stand now, in one piece; nothing before `ready`."""
        if self._path is None or not self._ready:
            return
        breakers = {status.name: asdict(status) for status in self._breakers.status()}
        found = {"at": to_datetime(self._clock.now_ms()), **self._told, "breakers": breakers}
        text = orjson.dumps(found, option=orjson.OPT_INDENT_2)
        new = self._path.with_name(self._path.name + ".new")
        new.write_bytes(text)
        new.replace(self._path)
