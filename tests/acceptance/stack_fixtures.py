"""Fixtures: one embedded stack and one set of worker processes for all acceptance tests that can share them."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from pipeline import Workers, prepared, workers

from agents.bootstrap import close, connect
from infra.embedded import Broker, Stack
from streams.parts import Parts
from streams.settings import Settings


@pytest.fixture(scope="session")
def stack(broker: Broker) -> Iterator[Stack]:
    """All servers, their data deleted at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="floodway-") as directory,
        Stack.start(Path(directory), broker=broker) as started,
    ):
        yield started


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    """Settings for that stack, which is ready for the first order."""
    return asyncio.run(prepared(stack))


@pytest.fixture(scope="session")
def running(settings: Settings) -> Iterator[Workers]:
    """Two intake workers and one lifecycle worker, started again when they die. Holds outlast all tests."""
    with workers(settings, intake=2, lifecycle=1) as started:
        yield started


@pytest_asyncio.fixture
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    """The stores of that stack, connected from the test's own process."""
    connected = await connect(settings)
    yield connected
    await close(connected)
