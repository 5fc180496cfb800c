"""Turns every way in which Postgres can fail to answer into `LedgerUnavailable`, with its cause.

An outage is what may go away by itself: a broken connection, a server that starts, stops, is full or turned read-only,
a lock or statement that took too long, a transaction that lost against another, a schema that is not there yet.
Anything else (a violated constraint, wrong SQL) is a fault of ours and passes through as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from streams.errors import LedgerUnavailable, SettingsError
from streams.stores.ledger_rules import failed_over, past

OUTAGES: tuple[type[BaseException], ...] = (
    OSError,  # TimeoutError is one too
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.OperatorInterventionError,  # class 57: shutdown, crash, starting up, cancelled by statement_timeout
    asyncpg.InsufficientResourcesError,  # class 53: too many connections, disk full, out of memory
    asyncpg.TransactionRollbackError,  # class 40: deadlock, serialization, unknown completion
    asyncpg.PostgresSystemError,  # class 58: the server's disk failed
    asyncpg.ReadOnlySQLTransactionError,  # a primary that became a standby
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.LockNotAvailableError,  # lock_timeout
    asyncpg.ObjectInUseError,
    asyncpg.InvalidAuthorizationSpecificationError,  # class 28: turned away, as while roles are rotated
    asyncpg.InvalidCatalogNameError,  # the database is not there (yet)
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InternalClientError,  # asyncpg lost track of the protocol: the connection is gone
)


class NotReplicated(OSError):
    """A commit that no synchronous standby has confirmed: it can be seen here, and may be lost."""


def may_be_replaced(error: BaseException) -> bool:
    """Whether an error may mean that another server is the primary by now: outages, and epochs that do not match."""
    return is_outage(error) or (isinstance(error, asyncpg.PostgresError) and error.sqlstate in {FENCED, FAILED_OVER})


def is_outage(error: BaseException) -> bool:
    """Whether an error means that Postgres did not answer, rather than that we asked something wrong."""
    if isinstance(error, asyncpg.InterfaceError):
        # What asyncpg raises for closed connections and pools; its DataError, a value that does not fit, is ours, and
        # with settings that it cannot use, no later try will go through.
        return not isinstance(error, asyncpg.exceptions.DataError | asyncpg.exceptions.ClientConfigurationError)
    return isinstance(error, OUTAGES)


FENCED = "FW001"
"""SQLSTATE of the function `under_epoch`; its message is the epochs asked for and found."""
FAILED_OVER = "FW002"
"""SQLSTATE of the same; its message is the epoch, and the timelines it was issued on and the server is at."""


def _advice(error: BaseException) -> str:
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError):
        return "the schema is not up to date, run the migrations"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidCatalogNameError):
        return "check user, password and database in FLOODWAY_POSTGRES_DSN"
    return "try again, and check that the server is up"


@contextmanager
def outages() -> Iterator[None]:
    """Raise `LedgerUnavailable` for an outage inside, which is its cause, and `Fenced` for an epoch that is past.

    What asyncpg cannot make sense of in a DSN is a `SettingsError`.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate == FENCED:
            raise past(*map(int, str(error).split())) from None
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate == FAILED_OVER:
            raise failed_over(*map(int, str(error).split())) from None
        if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
            raise SettingsError(
                f"The DSN in FLOODWAY_POSTGRES_DSN or FLOODWAY_POSTGRES_REPLICA_DSN cannot be used: {error}."
            ) from error
        if not is_outage(error):
            raise
        text = str(error) or type(error).__name__
        raise LedgerUnavailable(f"Postgres did not answer ({text}); {_advice(error)}.") from error
