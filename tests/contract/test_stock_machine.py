"""Any actions in any order, against a plain model: every answer and every number agree, and nothing is lost.

Hypothesis looks for short ways to a fault, seeded walks go deep. Both are the same each time, so that a red run can be
had again.
"""

import itertools
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from stock_kit import Server, order, redis_stock
from stock_machine import StockMachine

from streams.core.stock import Code, End, Promotion, Reservation
from streams.stores.stock import Stock
from streams.stores.stock_fake import FakeStock

pytest_plugins = ["stock_fixtures"]

SETTINGS = settings(
    max_examples=60,
    stateful_step_count=60,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking over a server takes minutes; add it when hunting
    suppress_health_check=list(HealthCheck),
)
WALKS = 16
STEPS = 250


@pytest.fixture(params=["fake", "redis"])
def machine(request: pytest.FixtureRequest) -> type[StockMachine]:
    """The machine on a stock of each kind."""
    make: Callable[[], Stock] = FakeStock
    if request.param == "redis":
        server: Server = request.getfixturevalue("valkey")
        make = lambda: redis_stock(server)  # noqa: E731  # a name would only repeat the call

    class Machine(StockMachine):
        def make(self) -> Stock:
            return make()

    return Machine


def test_agrees_with_the_model(machine: type[StockMachine]) -> None:
    """Whatever Hypothesis thinks of, stock and model agree after every step."""
    run_state_machine_as_test(machine, settings=SETTINGS)


def test_agrees_on_long_walks(machine: type[StockMachine]) -> None:
    """Stock and model agree on long walks, and those walks meet every code and every end there is."""
    codes: set[Code] = set()
    ends: set[End] = set()
    for seed in range(WALKS):
        walk = Walk(machine(), Random(seed))
        try:
            for _ in range(STEPS):
                walk.step()
                ends |= {life.end for life in walk.machine.model.lives if life.end is not None}
            ends |= set(walk.machine.model.restocks.values())
            codes |= {verdict.code for _, verdict in walk.machine.model.decided.values()}
        finally:
            walk.machine.teardown()
    assert codes == set(Code)
    assert ends == set(End) - {End.UNKNOWN}


class Walk:
    """Random steps as a shop would see them: mostly new orders, some repeats, promotions that come and go."""

    def __init__(self, machine: StockMachine, random: Random) -> None:
        self.machine = machine
        self.random = random
        self.numbers = itertools.count()
        self.names = itertools.count()
        self.orders: list[Reservation] = []
        machine.install([])

    def step(self) -> None:
        """One action, and the books after it."""
        random, machine = self.random, self.machine
        names = list(machine.model.promotions) or ["none yet"]
        picks = [random.randrange(8) for _ in range(random.randrange(1, 4))]
        actions: list[tuple[int, Callable[[], Any]]] = [
            (8, lambda: machine.reserve([self.order() for _ in range(random.randrange(6))], random.choice([2, 5, 30]))),
            (3, lambda: machine.confirm(picks)),
            (2, lambda: machine.release(picks)),
            (4, lambda: machine.expire_due(random.randrange(8), random.choice([1, 2, 50]))),
            (2, lambda: machine.settle(picks)),
            (4, lambda: machine.retake(picks[0], random.random() < 0.7, random.random() < 0.8)),
            (3, lambda: machine.restock(random.randrange(8), random.randrange(40), random.choice([0, 0, 1]))),
            (2, lambda: machine.receive(str(random.randrange(40)), random.randrange(-3, 7), random.randrange(-3, 7))),
            (2, lambda: machine.move(random.randrange(60), *self.move(names))),
            (2, lambda: machine.open_promotion(self.promotion())),
            (1, lambda: machine.close_promotion(random.choice(names[-2:]), True)),
        ]
        weights, choices = zip(*actions, strict=True)
        random.choices(choices, weights)[0]()
        machine.books_agree()
        machine.holds_agree()
        machine.limits_hold()

    def order(self) -> Reservation:
        """A new order, or one of the last, maybe with another body or under another key."""
        random = self.random
        if self.orders and random.random() < 0.3:
            again = random.choice(self.orders[-12:])
            if random.random() < 0.2:
                again = again._replace(fingerprint=random.randbytes(8))
            return again._replace(key=random.randbytes(16)) if random.random() < 0.3 else again
        lines = [(random.choice("AAAAABBBBBBZ"), random.randrange(1, 4)) for _ in range(random.choice([1, 1, 2, 3]))]
        promotions = [None, None, *list(self.machine.model.promotions)[-3:], *["nowhere"][: random.randrange(2)]]
        made = order(
            next(self.numbers), *lines, promotion=random.choice(promotions), buyer=random.choice(["ann", "bob", "cyd"])
        )
        self.orders.append(made)
        return made

    def promotion(self) -> Promotion:
        """A new promotion or, at times, one there is under the same or other terms."""
        random, known = self.random, list(self.machine.model.promotions.values())
        if known and random.random() < 0.3:
            promotion = random.choice(known)
            return promotion._replace(buyer_limit=random.choice([promotion.buyer_limit, 9]))
        opens_ms = self.machine.now_ms + random.choice([0, 0, 5_000])
        quota = [("A", random.randrange(1, 7)), ("B", random.randrange(1, 7))][random.randrange(2) :]
        name = f"p{next(self.names)}"
        return Promotion(
            name, opens_ms, opens_ms + random.choice([15, 90]) * 1_000, random.choice([0, 3]), tuple(quota)
        )

    def move(self, names: list[str]) -> tuple[str, str, str, int]:
        """A SKU, two pools and units."""
        pools = ["main", *[f"promo:{name}" for name in names[-2:]]]
        source, into = self.random.sample(pools, 2)
        return self.random.choice("AABBZ"), source, into, self.random.randrange(1, 5)
