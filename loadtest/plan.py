"""What a surge consists of, known beforehand: so that what comes out can be checked against what went in.

Deterministic: the same number of submissions and the same seed give the same plan.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

import msgspec

from loadtest.baskets import Basket, baskets
from streams.messages import Line
from streams.stores.partitioner import partition_of

REPEATS = 0.05
CONFLICTS = 0.005
MALFORMED = 0.005
FLASH_BUYERS = 0.05
FLASH_OVERBOOKING = 10
FLASH = "flash"
FLASH_SKU = "FLASH-1"
BUYER_LIMIT = 60
SCARCE_EVERY = 150
"""One SKU in so many has stock for half of its demand only."""
REPEAT_WITHIN = 2_000
"""A repeat follows its original by at most so many submissions."""


class Kind(IntEnum):
    """What a planned record is meant to be."""

    ORDER = 0
    REPEAT = 1
    CONFLICT = 2
    MALFORMED = 3


class Planned(NamedTuple):
    """One record to produce. `head` is the message up to where `submitted_at` goes; a malformed one is sent as is."""

    kind: Kind
    partition: int
    key: bytes | None
    head: bytes


class Body(msgspec.Struct, omit_defaults=True):
    """A submission but for its time, which is only known when it is sent."""

    submission_id: str
    channel: str
    buyer_id: str
    lines: tuple[Line, ...]
    currency: str
    promotion_id: str | None = None


class PromotionPlan(NamedTuple):
    """A promotion to open before the surge."""

    promotion_id: str
    buyer_limit: int
    quota: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Plan:
    """Records in the order of sending, and what they need and should come to."""

    records: list[Planned] = field(default_factory=list)
    stock: Counter[str] = field(default_factory=Counter)
    promotions: list[PromotionPlan] = field(default_factory=list)
    kinds: Counter[Kind] = field(default_factory=Counter)
    flash_id: str = FLASH
    flash_units: int = 0


def finish(head: bytes, submitted_at: bytes) -> bytes:
    """A message from its head and the time, RFC 3339."""
    return b'%b,"submitted_at":"%b"}' % (head, submitted_at)


def make_plan(submissions: int, partitions: int, *, seed: int = 1, run: str = "") -> Plan:
    """Plan a surge of so many records over so many partitions, with stock and promotions to match.

    `run` goes into the ids of submissions and promotions, so that one set of servers can take several surges.
    """
    choose = random.Random(seed)  # noqa: S311 - a repeatable mix, not a secret
    flash_buyers = int(submissions * FLASH_BUYERS)
    extras = {
        Kind.REPEAT: int(submissions * REPEATS),
        Kind.CONFLICT: int(submissions * CONFLICTS),
        Kind.MALFORMED: int(submissions * MALFORMED),
    }
    bodies = list(islice(_bodies(run), submissions - flash_buyers - sum(extras.values())))
    plan = Plan(flash_id=FLASH + run, flash_units=flash_buyers // FLASH_OVERBOOKING)
    _provide(plan, bodies)
    bodies += _flash(flash_buyers, run)
    choose.shuffle(bodies)
    plan.records = _mix(bodies, extras, partitions, choose)
    plan.kinds = Counter(record.kind for record in plan.records)
    return plan


def _bodies(run: str) -> Iterator[Body]:
    """Real baskets as submissions, over and over with new ids; lines under a campaign go as an order of their own."""
    round_no = 0
    while True:
        for basket in baskets():
            yield from _split(basket, run, f"-{round_no}" if round_no else "")
        round_no += 1


def _split(basket: Basket, run: str, again: str) -> Iterator[Body]:
    by_campaign: dict[int | None, list[Line]] = defaultdict(list)
    for line in basket.lines:
        by_campaign[line.campaign].append(Line(line.sku, line.qty, line.unit_price))
    for campaign, lines in by_campaign.items():
        part = "" if campaign is None else f"-c{campaign}"
        yield Body(
            submission_id=f"{basket.basket_id}{part}{run}{again}",
            channel=basket.channel,
            buyer_id=f"household-{basket.household}",
            lines=tuple(lines),
            currency="USD",
            promotion_id=None if campaign is None else f"campaign-{campaign}{run}",
        )


def _flash(buyers: int, run: str) -> Iterator[Body]:
    for number in range(buyers):
        line = Line(FLASH_SKU, 1, 100)
        yield Body(f"flash-{number}{run}", "own-shop", f"flash-buyer-{number}", (line,), "USD", FLASH + run)


def _provide(plan: Plan, bodies: Iterable[Body]) -> None:
    """Stock and promotions that meet the demand, but for some SKUs and a part of each promotion."""
    demand: Counter[str] = Counter()
    promoted: dict[str, Counter[str]] = defaultdict(Counter)
    for body in bodies:
        wanted = demand if body.promotion_id is None else promoted[body.promotion_id]
        for line in body.lines:
            wanted[line.sku] += line.qty
    for number, (sku, units) in enumerate(sorted(demand.items())):
        plan.stock[sku] = units // 2 if number % SCARCE_EVERY == 0 else units
    for promotion_id, wanted in promoted.items():
        quota = tuple((sku, max(1, units * 4 // 5)) for sku, units in sorted(wanted.items()))
        plan.promotions.append(PromotionPlan(promotion_id, BUYER_LIMIT, quota))
    plan.promotions.append(PromotionPlan(plan.flash_id, 1, ((FLASH_SKU, plan.flash_units),)))
    for promotion in plan.promotions:
        plan.stock.update(dict(promotion.quota))


def _mix(bodies: list[Body], extras: dict[Kind, int], partitions: int, choose: random.Random) -> list[Planned]:
    """Put repeats and conflicts some way behind their originals, malformed ones anywhere."""
    encode = msgspec.json.Encoder().encode
    originals = [_planned(Kind.ORDER, body, partitions, encode) for body in bodies]
    placed: list[tuple[float, Planned]] = list(enumerate(originals))
    for i in choose.sample(range(len(bodies)), extras[Kind.REPEAT]):
        placed.append((i + choose.uniform(0.5, REPEAT_WITHIN), originals[i]._replace(kind=Kind.REPEAT)))
    for i in choose.sample(range(len(bodies)), extras[Kind.CONFLICT]):
        other = msgspec.structs.replace(bodies[i], buyer_id=f"{bodies[i].buyer_id}-other")
        placed.append((i + choose.uniform(0.5, REPEAT_WITHIN), _planned(Kind.CONFLICT, other, partitions, encode)))
    for _ in range(extras[Kind.MALFORMED]):
        bad = Planned(Kind.MALFORMED, choose.randrange(partitions), None, _malformed(choose))
        placed.append((choose.uniform(0, len(bodies)), bad))
    placed.sort(key=lambda at: at[0])
    return [record for _, record in placed]


def _planned(kind: Kind, body: Body, partitions: int, encode: Callable[[Body], bytes]) -> Planned:
    key = f"{body.channel}:{body.submission_id}".encode()
    return Planned(kind, partition_of(key, partitions), key, encode(body)[:-1])


def _malformed(choose: random.Random) -> bytes:
    return choose.choice(
        (
            b'{"submission_id":"bad-1","channel":"jd","buyer_id":"b","lines":[],"currency":"USD"}',
            b'{"submission_id":"bad-2","channel":"jd","lines":[{"sku":"1","qty":0,"unit_price":5}]}',
            b"{not json",
            b"\xff\xfe\x00\x01",
            b'{"submission_id":"bad-3","channel":"jd","buyer_id":"b","lines":[{"sku":"1","qty":1,"unit_price":5}],'
            b'"currency":"USD","submitted_at":"2026-11-11T00:00:00"}',
        )
    )
