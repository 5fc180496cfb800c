"""What storefronts and payment systems do: make submissions and reports, and put them into Kafka."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from streams.core.stock import Promotion
from streams.instants import to_ms
from streams.messages import Line, Report, ReportType, Submission
from streams.parts import Parts
from streams.promotions import open_promotion
from streams.receiving import receive
from streams.stores.log import Entry
from streams.stores.partitioner import partition_of
from streams.topics import REPORTED, SUBMITTED, Topic

HOUR_MS = 3_600_000

encode = msgspec.json.Encoder().encode


def order(
    submission_id: str,
    *lines: tuple[str, int],
    channel: str = "shop",
    buyer: str = "buyer",
    promotion: str | None = None,
) -> Submission:
    """A submission for these SKUs and quantities."""
    return Submission(
        submission_id=submission_id,
        channel=channel,
        buyer_id=buyer,
        lines=tuple(Line(sku, qty, 100) for sku, qty in lines),
        currency="CNY",
        submitted_at=datetime.now(UTC),
        promotion_id=promotion,
    )


def key_of(submission: Submission) -> tuple[str, str]:
    """Channel and submission id."""
    return submission.channel, submission.submission_id


def mix(run: str, skus: Sequence[str], hot: str) -> Iterator[Submission]:
    """One-liners, baskets with a SKU on two lines, orders on a hot promotion, and repeats; endless, always the same."""
    choose = random.Random(run)
    before: list[Submission] = []
    number = 0
    while True:
        number += 1
        kind = choose.random()
        name, buyer = f"{run}-{number}", f"buyer-{choose.randrange(500)}"
        if kind < 0.1 and before:
            yield choose.choice(before[-400:])
            continue
        if kind < 0.3:
            made = order(name, (hot, 1), buyer=buyer, promotion=hot)
        elif kind < 0.6:
            some = choose.sample(skus, choose.randint(2, 8))
            made = order(name, *((sku, choose.randint(1, 3)) for sku in [*some, some[0]]), buyer=buyer)
        else:
            made = order(name, (choose.choice(skus), 1), buyer=buyer)
        before.append(made)
        yield made


async def stock_up(parts: Parts, ref: str, items: Iterable[tuple[str, int]]) -> None:
    """Put units on the shelves."""
    await receive(parts, ref, items)


async def promote(parts: Parts, name: str, units: int, *, buyer_limit: int = 0, lasts_ms: int = HOUR_MS) -> None:
    """Receive units of a SKU and set all of them aside for a promotion of the same name."""
    await receive(parts, f"for-{name}", [(name, units)])
    now_ms = parts.clock.now_ms()
    await open_promotion(parts, Promotion(name, now_ms - 1, now_ms + lasts_ms, buyer_limit, ((name, units),)))


async def submit(parts: Parts, submissions: Iterable[Submission]) -> None:
    """Produce submissions as a storefront does."""
    await _produce(parts, SUBMITTED, ((f"{s.channel}:{s.submission_id}".encode(), encode(s)) for s in submissions))


async def report(parts: Parts, kind: ReportType, order_ids: Iterable[UUID], *, event: str = "") -> None:
    """Produce one report for each order; the same again, unless it is another `event`."""
    now = datetime.now(UTC)
    made = [Report(f"{kind.value}-{order_id}{event}", "psp", kind, order_id, now) for order_id in order_ids]
    await _produce(parts, REPORTED, ((str(r.order_id).encode(), encode(r)) for r in made))


async def _produce(parts: Parts, topic: Topic, records: Iterable[tuple[bytes, bytes]]) -> None:
    count = await parts.log.partitions(topic.name)
    now_ms = to_ms(datetime.now(UTC))
    entries: dict[int, list[Entry]] = defaultdict(list)
    for key, value in records:
        entries[partition_of(key, count)].append(Entry(key, value, now_ms))
    await asyncio.gather(*(parts.log.append(topic.name, p, some) for p, some in entries.items()))
