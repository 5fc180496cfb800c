"""The demo's mix: baskets and a flash sale, with repeats, conflicts and malformed records among them."""

import random
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from loadtest.baskets import Basket, baskets
from loadtest.plan import Body, Kind, Plan, Planned, PromotionPlan, Writer
from streams.messages import Line

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


def demo(submissions: int, partitions: int, *, seed: int, run: str) -> Plan:
    """Plan so many records: 5 % repeats, 0.5 % conflicts, 0.5 % malformed, 5 % after a SKU with units for a tenth."""
    choose = random.Random(seed)  # noqa: S311 - a repeatable mix, not a secret
    flash_buyers = int(submissions * FLASH_BUYERS)
    extras = {
        Kind.REPEAT: int(submissions * REPEATS),
        Kind.CONFLICT: int(submissions * CONFLICTS),
        Kind.MALFORMED: int(submissions * MALFORMED),
    }
    wanted = submissions - flash_buyers - sum(extras.values())
    bodies = list(islice(_over_and_over(run), wanted))
    plan = Plan(run=run, flash_units=flash_buyers // FLASH_OVERBOOKING)
    plan.promised[FLASH + run] = plan.flash_units
    _provide(plan, bodies)
    bodies += _flash(flash_buyers, run)
    choose.shuffle(bodies)
    plan.sends = array("H", [1]) * len(bodies)
    plan.lines = sum(len(body.lines) for body in bodies)
    records = _mix(plan, bodies, extras, Writer(run, partitions), choose, partitions)
    plan.records = records
    plan.kinds = Counter(Kind(record.kind) for record in records)
    return plan


def basket_bodies(run: str) -> Iterator[Body]:
    """Every basket as a submission; lines under a campaign go as an order of their own."""
    for basket in baskets():
        yield from _split(basket, run)


def campaign(number: int, run: str) -> str:
    """Promotion id of a campaign."""
    return f"campaign-{number}{run}"


def _over_and_over(run: str) -> Iterator[Body]:
    while True:
        yield from basket_bodies(run)


def _split(basket: Basket, run: str) -> Iterator[Body]:
    by_campaign: dict[int | None, list[Line]] = defaultdict(list)
    for line in basket.lines:
        by_campaign[line.campaign].append(Line(line.sku, line.qty, line.unit_price))
    for number, lines in by_campaign.items():
        promotion_id = None if number is None else campaign(number, run)
        yield Body(basket.channel, f"household-{basket.household}", tuple(lines), "USD", promotion_id)


def _flash(buyers: int, run: str) -> Iterator[Body]:
    for number in range(buyers):
        yield Body("own-shop", f"flash-buyer-{number}", (Line(FLASH_SKU, 1, 100),), "USD", FLASH + run)


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
    plan.promotions.append(PromotionPlan(FLASH + plan.run, 1, ((FLASH_SKU, plan.flash_units),)))
    for promotion in plan.promotions:
        plan.stock.update(dict(promotion.quota))


def _mix(
    plan: Plan, bodies: list[Body], extras: dict[Kind, int], writer: Writer, choose: random.Random, partitions: int
) -> list[Planned]:
    """Put repeats and conflicts some way behind their originals, malformed ones anywhere."""

    def written(kind: Kind, number: int, body: Body) -> Planned:
        return writer.record(kind, number, body.channel.encode(), writer.body(body))

    originals = [written(Kind.ORDER, number, body) for number, body in enumerate(bodies)]
    placed: list[tuple[float, Planned]] = list(enumerate(originals))
    for i in choose.sample(range(len(bodies)), extras[Kind.REPEAT]):
        plan.sends[i] += 1
        placed.append((i + choose.uniform(0.5, REPEAT_WITHIN), originals[i]._replace(kind=Kind.REPEAT)))
    for i in choose.sample(range(len(bodies)), extras[Kind.CONFLICT]):
        plan.sends[i] += 1
        other = msgspec.structs.replace(bodies[i], buyer_id=f"{bodies[i].buyer_id}-other")
        placed.append((i + choose.uniform(0.5, REPEAT_WITHIN), written(Kind.CONFLICT, i, other)))
    for _ in range(extras[Kind.MALFORMED]):
        bad = Planned(Kind.MALFORMED, choose.randrange(partitions), None, malformed(choose))
        placed.append((choose.uniform(0, len(bodies)), bad))
    placed.sort(key=lambda at: at[0])
    return [record for _, record in placed]


def malformed(choose: random.Random) -> bytes:
    """One of several messages that are no submissions."""
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
