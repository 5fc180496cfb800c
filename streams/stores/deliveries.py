"""What the delivery of messages asks of its book: the protocol and its values.

A message for a target is due until it is delivered or given up, and then stands in the book: whoever reads it again in
Kafka finds it there, and does not send it again. All writes are idempotent.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import NamedTuple, Protocol

MAX_AT_ONCE = 5_000
"""Deliveries in one statement."""


class ToDeliver(NamedTuple):
    """A message for one target, and where it stood. `is_replay`: it is due again even if it was given up before."""

    target: str
    delivery_id: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    is_replay: bool = False


class Due(NamedTuple):
    """A message that waits for its target since `due_at`."""

    due_at: datetime
    message: ToDeliver


class Done(NamedTuple):
    """What became of a delivery, at which try. `failed` says why it was given up; None: it was delivered."""

    delivery_id: str
    tries: int
    at: datetime
    failed: str | None = None


class Standing(NamedTuple):
    """How many messages wait for a target, and since when the first does."""

    target: str
    waiting: int
    since: datetime


class Lane(Protocol):
    """The right to deliver to one target: as long as it lasts nobody else does, so its messages keep their order."""

    async def due(self, limit: int, without: Sequence[bytes] = ()) -> list[Due]:
        """The first messages due, in order, but for those with some keys.

        Raises `LedgerUnavailable` also when the right was lost.
        """
        ...


class Deliveries(Protocol):
    """Postgres."""

    async def add(self, messages: Sequence[ToDeliver], at: datetime) -> None:
        """Make messages due, in this order, but for those that are so already or stand in the book."""
        ...

    def lane(self, target: str) -> AbstractAsyncContextManager[Lane | None]:
        """The right to deliver to a target, for the time of the block; None while another process has it."""
        ...

    async def enter(self, target: str, done: Sequence[Done]) -> None:
        """Enter what became of deliveries into the book; they are no longer due."""
        ...

    async def forget(self, before: datetime) -> int:
        """Take what was entered before that time out of the book; returns how many entries."""
        ...

    async def standing(self) -> list[Standing]:
        """What waits, by target."""
        ...

    async def of_message(self, delivery_id: str) -> list[tuple[str, Done]]:
        """What became of a message, by target."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
