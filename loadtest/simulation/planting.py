"""How bugs are planted: what one is, and stores that make a mistake of their own."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from loadtest.simulation.loop import SimulatedProcess
from loadtest.simulation.world import World


@dataclass(frozen=True, slots=True)
class Bug:
    """One mistake. `scenario` is where to look for it."""

    summary: str
    plant: Callable[[], AbstractContextManager[Any]]
    scenario: str = "default"


class MistakenStore:
    """A store as one process sees it, with some methods of its own; the others are the store's."""

    def __init__(self, store: Any, process: SimulatedProcess) -> None:
        self._store, self._process = store, process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@contextlib.contextmanager
def stores(role: str = "", **mistaken: type[MistakenStore]) -> Iterator[None]:
    """Give processes of a role stores of these classes."""
    original = World.stores

    def made(self: World, process: SimulatedProcess, *args: Any) -> Any:
        found = dict(zip(("stock", "ledger", "log"), original(self, process, *args), strict=True))
        if process.name.startswith(role):
            found |= {name: kind(found[name], process) for name, kind in mistaken.items()}
        return tuple(found.values())

    with patch.object(World, "stores", made):
        yield
