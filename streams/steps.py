"""Steps of orders written to the ledger, together with what is to be told of them."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from streams.core.books import Message, OrderRecord, Step, StepResult, Taken
from streams.core.effects import effects
from streams.core.lifecycle import Outcome
from streams.parts import Parts
from streams.retry import until_available

_REPEATED = StepResult.REPEATED


class Told:
    """What is to be told of one call to the ledger, made while it is written, and the token that covers it."""

    def __init__(self, outcomes: Sequence[Outcome], orders: Mapping[UUID, OrderRecord]) -> None:
        self._outcomes = {id(outcome.step): outcome for outcome in outcomes}
        self._orders = orders
        self.messages: list[Message] = []
        self.written: Sequence[Taken] = ()
        self.token = ""

    def __call__(self, written: Sequence[Taken]) -> Sequence[Message]:
        """See `Tell`."""
        outcomes, orders, self.written = self._outcomes, self._orders, written
        self.messages = [
            message
            for taken in written
            for message in effects(taken, orders[taken.step.order_id], outcomes.get(id(taken.step)))
        ]
        return self.messages


async def find_orders(parts: Parts, order_ids: Iterable[UUID]) -> dict[UUID, OrderRecord]:
    """Accepted orders by id; waits as long as the ledger is away."""
    ids = list(order_ids)
    if not ids:
        return {}
    return await until_available(
        "orders", lambda: parts.ledger.orders(ids), max_delay_s=parts.settings.retry_max_delay_s
    )


async def take_steps(
    parts: Parts,
    epoch: int,
    outcomes: Sequence[Outcome],
    plain: Sequence[Step],
    orders: dict[UUID, OrderRecord],
) -> Told:
    """Write steps, bring `orders` up to date with them, and return what to tell."""
    told = Told(outcomes, orders)
    if not outcomes and not plain:
        return told
    steps = [*(outcome.step for outcome in outcomes), *plain]
    told.token, results = await parts.ledger.take_steps(steps, epoch, told)
    # Repeated may be this very call, whose first answer was lost: then what was read before it is out of date.
    orders.update(await find_orders(parts, {s.order_id for s, r in zip(steps, results, strict=True) if r is _REPEATED}))
    for step, result in zip(steps, results, strict=True):
        if result is StepResult.TAKEN and step.state is not None:
            orders[step.order_id] = orders[step.order_id]._replace(state=step.state)
    return told
