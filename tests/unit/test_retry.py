"""Try again while a dependency is down, and only then."""

import asyncio
import logging

import pytest

from streams.errors import Fenced, LedgerUnavailable, LogUnavailable, Refused, StockUnavailable, Unavailable
from streams.retry import until_available


class Flaky:
    """Raises each of its errors once, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        """The answer, or the next error."""
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


async def test_a_good_call_is_made_once() -> None:
    """The result comes back as it is."""
    call = Flaky()
    assert await until_available("call", call, max_delay_s=0.001) == "answer"
    assert call.calls == 1


async def test_outages_are_outlasted(caplog: pytest.LogCaptureFixture) -> None:
    """Each kind of outage, more often than any default limit of tries, is tried again; the log says how often."""
    call = Flaky(*[kind("down") for kind in (Unavailable, StockUnavailable, LedgerUnavailable, LogUnavailable)] * 5)
    with caplog.at_level(logging.WARNING, logger="streams.retry"):
        assert await until_available("persist", call, max_delay_s=0.001) == "answer"
    assert call.calls == 21
    said = [r.getMessage() for r in caplog.records if r.name == "streams.retry"]
    assert said == ["persist: down", *(f"persist: try {number}" for number in range(2, 22))]


@pytest.mark.parametrize("error", [Fenced("x"), Refused("x"), ValueError("x"), AssertionError("x")])
async def test_other_errors_pass_through_at_once(error: Exception) -> None:
    """What waiting does not mend is not waited for."""
    call = Flaky(error)
    with pytest.raises(type(error)):
        await until_available("call", call, max_delay_s=0.001)
    assert call.calls == 1


async def test_pauses_lie_between_tries() -> None:
    """No busy loop: within a tenth of a second there are few tries with a long pause allowed."""
    call = Flaky(*[Unavailable("down")] * 1_000)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await until_available("call", call, max_delay_s=5.0)
    assert 1 <= call.calls <= 3


async def test_cancellation_ends_the_tries() -> None:
    """A worker that is told to stop does not wait for a dependency."""
    call = Flaky(*[Unavailable("down")] * 1_000)
    task = asyncio.create_task(until_available("call", call, max_delay_s=5.0))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert call.calls == 1
