"""Fixtures of the stock's tests: one server for all, an empty stock of each kind for each."""

from collections.abc import AsyncIterator, Iterator

import pytest
from stock_kit import EPOCH, RETENTION_S, Server, redis_stock

from streams.stores.stock import Stock
from streams.stores.stock_fake import FakeStock


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests; each test has keys of its own."""
    server = Server(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["fake", "redis"])
async def bare(request: pytest.FixtureRequest) -> AsyncIterator[Stock]:
    """A stock of each kind, without an epoch; `@retention(seconds)` on a test shortens its memory."""
    seconds: float = getattr(request.node.obj, "retention_s", RETENTION_S)
    stock: Stock = (
        FakeStock(dedupe_retention_s=seconds)
        if request.param == "fake"
        else redis_stock(request.getfixturevalue("valkey"), dedupe_retention_s=seconds)
    )
    yield stock
    await stock.close()


@pytest.fixture
async def stock(bare: Stock) -> Stock:
    """A stock of each kind under EPOCH, with 10 of A and 5 of B in main."""
    await bare.install_epoch(EPOCH)
    await bare.receive(EPOCH, "first delivery", [("A", 10), ("B", 5)])
    return bare
