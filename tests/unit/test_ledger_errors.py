"""Outages of Postgres become `LedgerUnavailable`; faults of ours do not hide among them."""

import asyncpg
import pytest

from streams.errors import LedgerUnavailable
from streams.stores.ledger_errors import outages

OUTAGE_CLASSES = {"08", "28", "40", "53", "57", "58"}
OUTAGE_STATES = {"25006", "25P03", "25P04", "3D000", "42P01", "42703", "55006", "55P03"}
FAULT_CLASSES = {"0A", "21", "22", "23", "42", "XX"}

SERVER_ERRORS = sorted(
    {
        found
        for found in vars(asyncpg.exceptions).values()
        if isinstance(found, type) and issubclass(found, asyncpg.PostgresError) and found.sqlstate
    },
    key=lambda found: found.__name__,
)


def is_outage(sqlstate: str) -> bool:
    """What the standard's classes and the states named above say."""
    return sqlstate[:2] in OUTAGE_CLASSES or sqlstate in OUTAGE_STATES


@pytest.mark.parametrize("kind", [e for e in SERVER_ERRORS if is_outage(str(e.sqlstate))], ids=lambda e: e.__name__)
def test_an_outage_is_named_so(kind: type[asyncpg.PostgresError]) -> None:
    """Each asyncpg exception of these SQLSTATEs becomes `LedgerUnavailable`, with itself as the cause."""
    with pytest.raises(LedgerUnavailable, match=r"Postgres did not answer \(gone\); ") as caught, outages():
        raise kind("gone")
    assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize(
    "kind",
    [e for e in SERVER_ERRORS if not is_outage(str(e.sqlstate)) and str(e.sqlstate)[:2] in FAULT_CLASSES],
    ids=lambda e: e.__name__,
)
def test_a_fault_passes_through(kind: type[asyncpg.PostgresError]) -> None:
    """A violated constraint or wrong SQL would not go away by trying again."""
    with pytest.raises(kind), outages():
        raise kind("wrong")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("refused"),
        ConnectionResetError("reset"),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("got result for unknown protocol state"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_line_is_an_outage(error: Exception) -> None:
    """What the socket or the client library says when the server is gone."""
    with pytest.raises(LedgerUnavailable) as caught, outages():
        raise error
    assert caught.value.__cause__ is error


def test_a_value_that_does_not_fit_is_ours() -> None:
    """Asyncpg's own DataError is an InterfaceError by inheritance, and no outage."""
    with pytest.raises(asyncpg.exceptions.DataError), outages():
        raise asyncpg.exceptions.DataError("not an int")


def test_the_message_says_what_to_do() -> None:
    """A schema that is not there and a door that is closed get advice of their own."""
    with pytest.raises(LedgerUnavailable, match="run the migrations"), outages():
        raise asyncpg.UndefinedTableError('relation "orders" does not exist')
    with pytest.raises(LedgerUnavailable, match="FLOODWAY_POSTGRES_DSN"), outages():
        raise asyncpg.InvalidPasswordError("password authentication failed")
