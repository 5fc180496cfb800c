"""What commands share: which servers they mean, and how they print."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.embedded import running
from streams.errors import SettingsError
from streams.parts import Parts
from streams.settings import FILE_SUFFIX, PREFIX, Settings, load

if TYPE_CHECKING:
    from streams.stores.watch_postgres import PostgresWatch

DATA_DIR = Path(".floodway")
SERVERS = tuple(PREFIX + name for name in ("KAFKA_BOOTSTRAP", "REDIS_URL", "POSTGRES_DSN", "POSTGRES_REPLICA_DSN"))

people = Console(stderr=True, highlight=False, markup=False, emoji=False)
"""For words and progress; standard output is for results."""

out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
"""No markup: ids come from outside and may hold brackets and colons."""


def settings(data_dir: Path = DATA_DIR, **overrides: Any) -> Settings:
    """Settings from the environment; where it names no servers, those of the embedded stack that runs here.

    Raises `SettingsError` when there is neither.
    """
    addresses = running(data_dir)
    environ = dict(os.environ)
    if addresses is not None:
        environ = addresses.environment() | environ
    elif not any(name in environ or name + FILE_SUFFIX in environ for name in SERVERS):
        raise SettingsError(
            f"No stack runs in {data_dir} of this directory; start `floodway up` here in another terminal, or set "
            f"{SERVERS[0]} and the like to servers of your own."
        )
    return load(environ, **overrides)


@contextlib.asynccontextmanager
async def connected(using: Settings | None = None) -> AsyncIterator[Parts]:
    """All parts, connected for one command."""
    from agents.bootstrap import close, connect  # noqa: PLC0415 - asyncpg and aiokafka take a moment to import

    parts = await connect(using or settings())
    try:
        yield parts
    finally:
        await close(parts)


@contextlib.asynccontextmanager
async def open_watch() -> "AsyncIterator[PostgresWatch]":
    """What the watch keeps in Postgres, for one command."""
    from agents.watcher import open_store  # noqa: PLC0415 - asyncpg takes a moment to import

    store = await open_store(settings())
    try:
        yield store
    finally:
        await store.close()


def print_json(value: Any) -> None:
    """One JSON value on one line of standard output."""
    print(orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode(), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """A table for people; numbers to the right."""
    table = Table(title=title, title_justify="left")
    held = [tuple(row) for row in rows]
    for i, column in enumerate(columns):
        numeric = bool(held) and all(isinstance(row[i], int | float) for row in held)
        table.add_column(column, justify="right" if numeric else "left")
    for row in held:
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    out.print(table)


def parse_duration(text: str) -> timedelta:
    """`90s`, `15m`, `2h` or `3d`. Raises `ValueError`."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.replace(".", "", 1).isdecimal():
        raise ValueError(f"{text!r} is no duration; write it as 90s, 15m, 2h or 3d")
    try:
        return timedelta(**{units[unit]: float(number)})
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any calendar; write it as 90s, 15m, 2h or 3d") from None


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
