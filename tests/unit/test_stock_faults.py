"""Each error of redis-py becomes one of Floodway's that says whether waiting helps."""

import inspect

import pytest
import redis.exceptions
from redis.exceptions import RedisError, ResponseError

from streams.errors import Fenced, FloodwayError, StockUnavailable
from streams.stores.stock_faults import fault

REPLIES = ["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN"]


@pytest.mark.parametrize("word", REPLIES)
def test_what_passes_is_unavailable(word: str) -> None:
    """An error reply about the server's state means: wait and try again."""
    assert isinstance(fault(ResponseError(f"{word} for now")), StockUnavailable)


@pytest.mark.parametrize(
    "name",
    ["ConnectionError", "TimeoutError", "BusyLoadingError", "ReadOnlyError", "OutOfMemoryError", "ExecAbortError"],
)
def test_classes_that_pass(name: str) -> None:
    """The same where redis-py has a class for it, whose text has lost the reply's first word."""
    assert isinstance(fault(getattr(redis.exceptions, name)("some text")), StockUnavailable)


def test_sockets_too() -> None:
    """An error of the operating system's is an outage as well, and has a text even when it has none."""
    assert "OSError" in str(fault(OSError()))
    assert isinstance(fault(OSError()), StockUnavailable)


def test_a_connection_that_uvloop_found_closed_is_an_outage() -> None:
    """It was reset after it was made and before it was used: an outage; any other RuntimeError is a defect."""
    reset = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    assert isinstance(fault(reset), StockUnavailable)
    assert not isinstance(fault(RuntimeError("something else")), StockUnavailable)


def test_every_error_is_mapped() -> None:
    """No error of redis-py, present or future, leaves the stock under its own name."""
    for _, kind in inspect.getmembers(redis.exceptions, inspect.isclass):
        if issubclass(kind, RedisError):
            assert isinstance(fault(RedisError.__new__(kind)), FloodwayError)


def test_fences() -> None:
    """The script's FENCED reply becomes `Fenced` with both epochs; older, newer and none are told apart."""
    texts = [str(fault(ResponseError(f"FENCED {carried}"), 5)) for carried in ("4", "6", "none")]
    assert all(isinstance(fault(ResponseError("FENCED 4"), 5), Fenced) for _ in texts)
    assert ["older" in texts[0], "newer" in texts[1], "no epoch" in texts[2]] == [True] * 3
    assert all("5" in text for text in texts)


def test_a_defect_is_no_outage() -> None:
    """What waiting does not cure is not called unavailable, or callers would wait for ever."""
    error = fault(ResponseError("WRONGTYPE of key"))
    assert not isinstance(error, StockUnavailable)
    assert "defect" in str(error)
