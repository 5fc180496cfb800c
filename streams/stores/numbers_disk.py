"""The numbers that an export has named, on disk: a file may have more than fit in memory."""

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

CACHE_KB = 32_768

_encode = msgspec.json.Encoder().encode


class NumbersOnDisk:
    """A set of texts in a temporary file. Use it in a `with` block; the file goes with it."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="floodway-numbers-")
        self._store = sqlite3.connect(Path(self._folder.name) / "numbers", isolation_level=None)
        # Nobody needs it after a crash.
        self._store.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KB};"
            "CREATE TABLE numbers (number TEXT PRIMARY KEY) WITHOUT ROWID"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._folder.cleanup()

    def among(self, numbers: Sequence[str]) -> set[str]:
        """Those that are in the set."""
        asked = "SELECT n.number FROM json_each(?) a JOIN numbers n ON n.number = a.value"
        return {number for (number,) in self._store.execute(asked, (_encode(list(numbers)).decode(),))}

    def add(self, numbers: Sequence[str]) -> None:
        """Put them into the set."""
        self._store.execute(
            "INSERT OR IGNORE INTO numbers SELECT value FROM json_each(?)", (_encode(list(numbers)).decode(),)
        )
