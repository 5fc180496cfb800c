"""What an order needs whoever does the job: its message read, its rows, its decision."""

import os
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple, Self
from uuid import UUID

import asyncpg
import msgspec
import uvloop
from aiokafka import ConsumerRebalanceListener

from loadtest.bench.held import tell_assigned
from streams.messages import DecidedLine, Decision, Outcome, Reason, Submission
from streams.settings import Settings, load

HOLD = timedelta(minutes=30)

TABLES = """
CREATE TABLE decisions (
    channel text NOT NULL, submission_id text NOT NULL, order_id uuid NOT NULL, fingerprint bytea NOT NULL,
    accepted boolean NOT NULL, reason text, decided_at timestamptz NOT NULL,
    PRIMARY KEY (channel, submission_id));
CREATE TABLE orders (
    order_id uuid PRIMARY KEY, channel text NOT NULL, submission_id text NOT NULL, buyer_id text NOT NULL,
    currency text NOT NULL, total bigint NOT NULL, submitted_at timestamptz NOT NULL, held_until timestamptz NOT NULL);
CREATE TABLE order_lines (
    order_id uuid NOT NULL, line_no smallint NOT NULL, sku text NOT NULL, qty integer NOT NULL,
    unit_price bigint NOT NULL, PRIMARY KEY (order_id, line_no));
CREATE TABLE stock (
    sku text PRIMARY KEY, free bigint NOT NULL CHECK (free >= 0), held bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
"""
"""Room on the pages of `stock`, so that its updates stay off the index (HOT)."""

_DECIDED = """
WITH decided AS (
    INSERT INTO decisions VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING order_id),
ordered AS (
    INSERT INTO orders SELECT order_id, $1, $2, $8, $9, $10, $11, $12 FROM decided WHERE $5),
lines AS (
    INSERT INTO order_lines
    SELECT order_id, l.no, l.sku, l.qty, l.price
      FROM decided, unnest($13::text[], $14::integer[], $15::bigint[]) WITH ORDINALITY AS l (sku, qty, price, no)
     WHERE $5)
"""
RECORD = f"{_DECIDED} SELECT count(*) FROM decided"  # noqa: S608 - of constants
"""Decision, order and lines in one statement, so one transaction and one round trip; nothing for a known key."""
TAKE_AND_RECORD = f"""{_DECIDED}
UPDATE stock SET free = free - w.qty, held = held + w.qty
  FROM decided, (SELECT sku, sum(qty) AS qty FROM unnest($13::text[], $14::integer[]) AS u (sku, qty) GROUP BY sku) w
 WHERE stock.sku = w.sku AND $5
"""  # noqa: S608 - of constants
"""The same, and the units taken; the rows of the stock are locked already."""

_decode = msgspec.json.Decoder(Submission).decode
_encode = msgspec.json.Encoder().encode


class Task(NamedTuple):
    """What a peer is told on its command line: its name, where to read, where to announce, how many at a time."""

    name: str
    source: str
    target: str
    concurrency: int
    settings: Settings

    @classmethod
    def told(cls) -> Self:
        """From the command line and the environment."""
        name, source, target, concurrency = sys.argv[1:]
        return cls(name, source, target, int(concurrency), load(os.environ))

    @property
    def schema(self) -> str:
        """Of its tables."""
        return f"peer_{self.name}"


class Job(NamedTuple):
    """One order to be decided."""

    submission: Submission
    order_id: UUID
    fingerprint: bytes
    units: dict[str, int]
    total: int

    @property
    def key(self) -> str:
        """Its idempotency key."""
        return f"{self.submission.channel}:{self.submission.submission_id}"


def job(message: bytes) -> Job:
    """Read a message: validated in one pass, ids derived from the key so that a redelivery has the same."""
    submission = _decode(message)
    key = f"{submission.channel}:{submission.submission_id}".encode()
    units: dict[str, int] = {}
    total = 0
    for line in submission.lines:
        units[line.sku] = units.get(line.sku, 0) + line.qty
        total += line.qty * line.unit_price
    order_id = UUID(bytes=blake2b(key, digest_size=16).digest())
    return Job(submission, order_id, blake2b(message, digest_size=8).digest(), units, total)


def row(found: Job, *, accepted: bool, decided_at: datetime) -> tuple[Any, ...]:
    """Arguments of `RECORD` and `TAKE_AND_RECORD`."""
    s = found.submission
    return (
        s.channel,
        s.submission_id,
        found.order_id,
        found.fingerprint,
        accepted,
        None if accepted else Reason.OUT_OF_STOCK.value,
        decided_at,
        s.buyer_id,
        s.currency,
        found.total,
        s.submitted_at,
        decided_at + HOLD,
        [line.sku for line in s.lines],
        [line.qty for line in s.lines],
        [line.unit_price for line in s.lines],
    )


def announcement(found: Job, *, accepted: bool, decided_at: datetime) -> tuple[bytes, bytes]:
    """Key and message of its decision."""
    s = found.submission
    decision = Decision(
        order_id=found.order_id,
        submission_id=s.submission_id,
        channel=s.channel,
        outcome=Outcome.ACCEPTED if accepted else Outcome.REJECTED,
        decided_at=decided_at,
        submitted_at=s.submitted_at,
        trace_id=found.order_id.hex,
        currency=s.currency,
        total=found.total,
        reason=None if accepted else Reason.OUT_OF_STOCK,
        lines=tuple(DecidedLine(sku, "main", qty) for sku, qty in found.units.items()) if accepted else (),
        held_until=decided_at + HOLD if accepted else None,
    )
    return str(found.order_id).encode(), _encode(decision)


def now() -> datetime:
    """The time of a decision."""
    return datetime.now(UTC)


async def pool(task: Task, size: int) -> Any:
    """Connections to Postgres in the peer's schema; asyncpg prepares each statement once a connection."""
    return await asyncpg.create_pool(
        task.settings.postgres_dsn, min_size=size, max_size=size, server_settings={"search_path": task.schema}
    )


@cache
def on_uvloop() -> None:
    """Use uvloop, as a good user would."""
    uvloop.install()


class Assigned(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's rebalance listener that tells the measuring process when there is something to read."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Tell it."""
        if assigned:
            tell_assigned()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing to do: what was not committed is read again."""
