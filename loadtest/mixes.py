"""The mixes of a surge by name, each with what must come out of it.

Stock is exactly what the accepted orders need: a unit taken twice would turn a later order into a refusal, and show.
"""

import random
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Literal, get_args

from loadtest import demo_mix
from loadtest.plan import MAX_SENDS, MAX_SUBMISSIONS, Again, Body, Kind, Plan, Planned, PromotionPlan, Writer
from streams.errors import Refused
from streams.messages import MAX_LINES, Line, Reason

Mix = Literal["one-line", "baskets", "demo", "hot", "repeats"]
MIXES: tuple[Mix, ...] = get_args(Mix)

SKUS = 1_000
HOT_SKU = "HOT-1"
HOT = "hot"
HOT_QUOTA = 0.01
"""Of the orders of the mix `hot` so many get a unit."""
ORIGINALS = 0.10
"""Of the records of the mix `repeats` so many are the first of their key."""
REPEAT_BLOCK = 1_000
"""So many originals are shuffled with all their repeats; then come the next."""
CHANNEL = "own-shop"
PRICE = 1_999


def make_plan(
    submissions: int, partitions: int, *, mix: Mix = "demo", hot_share: float = 0.0, seed: int = 1, run: str = ""
) -> Plan:
    """Plan a surge of so many records over so many partitions, with stock and promotions to match.

    `hot_share` of the orders of `one-line` and `baskets` ask for one SKU. `run` goes into the ids of submissions and
    promotions, so that one set of servers can take several surges. Raises `Refused` for what cannot be planned.
    """
    check(submissions, mix, hot_share)
    match mix:
        case "one-line":
            return _one_line(submissions, partitions, hot_share, seed, run)
        case "baskets":
            return _baskets(submissions, partitions, hot_share, seed, run)
        case "demo":
            return demo_mix.demo(submissions, partitions, seed=seed, run=run)
        case "hot":
            return _hot(submissions, partitions, run)
        case "repeats":
            return _repeats(submissions, partitions, seed, run)


def check(submissions: int, mix: Mix, hot_share: float) -> None:
    """Raise `Refused` for what cannot be planned, before anything is started."""
    if not 0 < submissions <= MAX_SUBMISSIONS:
        raise Refused(f"A surge has between 1 and {MAX_SUBMISSIONS:,} orders, not {submissions:,}.")
    if not 0 <= hot_share <= 1:
        raise Refused(f"--hot-sku {hot_share:g} is no share; give a number from 0 to 1.")
    if hot_share and mix not in {"one-line", "baskets"}:
        raise Refused(f"--hot-sku goes with the mixes one-line and baskets; {mix} has a hot SKU of its own or none.")


def _one_line(orders: int, partitions: int, hot_share: float, seed: int, run: str) -> Plan:
    choose = random.Random(seed)  # noqa: S311 - a repeatable mix, not a secret
    picks = array("H", choose.choices(range(SKUS), k=orders))
    for i in choose.sample(range(orders), int(orders * hot_share)):
        picks[i] = SKUS
    skus = [*(f"SKU-{number:04d}" for number in range(SKUS)), HOT_SKU]
    writer = Writer(run, partitions)

    def records() -> Iterator[Planned]:
        order = OneLine(writer, skus)
        for number, pick in enumerate(picks):
            yield order.record(Kind.ORDER, number, pick)

    demand = Counter(picks)
    return _all_accepted(run, Again(records), orders, orders, Counter({skus[i]: n for i, n in demand.items()}))


def _repeats(records_in_all: int, partitions: int, seed: int, run: str) -> Plan:
    originals = max(1, round(records_in_all * ORIGINALS))
    each, over = divmod(records_in_all, originals)
    if each >= MAX_SENDS:
        raise Refused(f"{records_in_all:,} records of {originals:,} orders: too many repeats of one.")
    sends = array("H", [each + 1]) * over + array("H", [each]) * (originals - over)
    skus = [f"SKU-{number:04d}" for number in range(SKUS)]
    writer = Writer(run, partitions)

    def records() -> Iterator[Planned]:
        choose = random.Random(seed)  # noqa: S311 - a repeatable mix, not a secret
        order = OneLine(writer, skus)
        for begin in range(0, originals, REPEAT_BLOCK):
            block = range(begin, min(originals, begin + REPEAT_BLOCK))
            numbers = [number for number in block for _ in range(sends[number])]
            choose.shuffle(numbers)
            seen: set[int] = set()
            for number in numbers:
                yield order.record(Kind.REPEAT if number in seen else Kind.ORDER, number, number % SKUS)
                seen.add(number)

    stock = Counter(skus[number % SKUS] for number in range(originals))
    plan = _all_accepted(run, Again(records), originals, originals, stock)
    plan.sends = sends
    plan.kinds[Kind.REPEAT] = records_in_all - originals
    return plan


def _hot(orders: int, partitions: int, run: str) -> Plan:
    quota = max(1, int(orders * HOT_QUOTA))
    promotion_id = HOT + run
    writer = Writer(run, partitions)

    def records() -> Iterator[Planned]:
        order = OneLine(writer, [HOT_SKU], promotion_id)
        for number in range(orders):
            yield order.record(Kind.ORDER, number, 0)

    plan = _all_accepted(run, Again(records), orders, orders, Counter({HOT_SKU: quota}))
    plan.promotions = [PromotionPlan(promotion_id, 1, ((HOT_SKU, quota),))]
    plan.promised = {promotion_id: quota}
    plan.accepted = quota
    plan.rejected = {Reason.OUT_OF_STOCK.value: orders - quota} if orders > quota else {}
    return plan


def _baskets(orders: int, partitions: int, hot_share: float, seed: int, run: str) -> Plan:
    choose = random.Random(seed)  # noqa: S311 - a repeatable mix, not a secret
    bodies = list(islice(demo_mix.basket_bodies(run), orders))
    choose.shuffle(bodies)
    hot = _hot_numbers(bodies, orders, int(orders * hot_share), choose)
    writer = Writer(run, partitions)
    written = [(body.channel.encode(), writer.body(body)) for body in bodies]
    hot_line = writer.body(Body("", "", (Line(HOT_SKU, 1, PRICE),), "")).partition(b'"lines":[')[2].partition(b"]")[0]

    def records() -> Iterator[Planned]:
        for number in range(orders):
            channel, body = written[number % len(written)]
            if number in hot:
                body = body.replace(b'"lines":[', b'"lines":[' + hot_line + b",", 1)
            yield writer.record(Kind.ORDER, number, channel, body)

    demand: dict[str | None, Counter[str]] = defaultdict(Counter)
    lines = len(hot)
    each, over = divmod(orders, len(bodies))
    for number, body in enumerate(bodies):
        times = each + (number < over)
        wanted = demand[body.promotion_id]
        lines += times * len(body.lines)
        for line in body.lines:
            wanted[line.sku] += times * line.qty
    stock = demand.pop(None, Counter())
    if hot:
        stock[HOT_SKU] += len(hot)
    plan = _all_accepted(run, Again(records), orders, lines, stock)
    for promotion_id, wanted in sorted(demand.items(), key=str):
        plan.promotions.append(PromotionPlan(str(promotion_id), 0, tuple(sorted(wanted.items()))))
        plan.stock.update(wanted)
    return plan


def _hot_numbers(bodies: list[Body], orders: int, wanted: int, choose: random.Random) -> frozenset[int]:
    """Which orders ask for the hot SKU as well: those that draw from main and have room for a line."""
    fits = [body.promotion_id is None and len(body.lines) < MAX_LINES for body in bodies]
    able = [number for number in range(orders) if fits[number % len(bodies)]] if wanted else []
    if wanted > len(able):
        raise Refused(
            f"--hot-sku {wanted / orders:g}: only {len(able) / orders:.0%} of these baskets draw from main and have "
            "room for one line more."
        )
    return frozenset(choose.sample(able, wanted))


class OneLine:
    """Writes orders of one unit, each by a buyer of its own, from bytes made once a SKU."""

    def __init__(self, writer: Writer, skus: list[str], promotion_id: str | None = None) -> None:
        self._writer = writer
        self._channel = CHANNEL.encode()
        bodies = (writer.body(Body(CHANNEL, "?", (Line(sku, 1, PRICE),), "CNY", promotion_id)) for sku in skus)
        self._around_buyer = [body.split(b"?", 1) for body in bodies]

    def record(self, kind: Kind, number: int, sku: int) -> Planned:
        """The order of this number for the SKU at this place of the list."""
        before, after = self._around_buyer[sku]
        return self._writer.record(kind, number, self._channel, b"%bbuyer-%d%b" % (before, number, after))


def _all_accepted(run: str, records: Again, orders: int, lines: int, stock: Counter[str]) -> Plan:
    return Plan(
        run=run,
        records=records,
        sends=array("H", [1]) * orders,
        kinds=Counter({Kind.ORDER: orders}),
        lines=lines,
        stock=stock,
        accepted=orders,
        rejected={},
    )
