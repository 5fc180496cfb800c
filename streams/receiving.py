"""Goods in: booked in the ledger first, then put on the shelf in Redis; repeatable by reference."""

from collections.abc import Iterable, Sequence
from itertools import islice

from streams.core.books import Action, Movement
from streams.core.names import MAX_UNITS, is_sku
from streams.core.stock import MAIN
from streams.errors import Fenced, Refused
from streams.instants import to_datetime
from streams.parts import Parts
from streams.stores.ledger_rules import past

SLICE = 1_000
"""SKUs booked and shelved at a time."""


async def receive(parts: Parts, ref: str, items: Iterable[tuple[str, int]]) -> tuple[int, int]:
    """Add units to main under a reference; returns (SKUs, units) newly added, (0, 0) when `ref` was done before.

    Repeated SKUs add up. After a crash, the same call with the same items finishes what was begun.
    """
    added_up: dict[str, int] = {}
    for sku, qty in items:
        if qty < 0:
            raise Refused(f"SKU {sku}: {qty} units cannot be received; give 0 (known, none there) or more.")
        if not is_sku(sku):
            raise Refused(f"{sku[:80]!r} is no SKU that a submission could name; see the published schema.")
        added_up[sku] = added_up.get(sku, 0) + qty
        if added_up[sku] > MAX_UNITS:
            raise Refused(f"SKU {sku}: over {MAX_UNITS:,} units cannot be received at once; look at the number again.")
    epoch = await parts.ledger.epoch()
    if epoch is None:
        raise Fenced("The ledger has issued no epoch yet; run `floodway init`.")
    rest = iter(sorted(added_up.items()))
    skus = units = number = 0
    while some := list(islice(rest, SLICE)):
        if await _receive_slice(parts, epoch, f"{ref}#{number}", some):
            skus += len(some)
            units += sum(qty for _, qty in some)
        number += 1
    return skus, units


async def _receive_slice(parts: Parts, epoch: int, ref: str, items: Sequence[tuple[str, int]]) -> bool:
    at = to_datetime(parts.clock.now_ms())
    # Those of no units, too: a stock that is rebuilt must know that there is such a SKU.
    new = await parts.ledger.record_movements(
        [Movement(ref, Action.RECEIVE, sku, MAIN, qty, 0, 0, at) for sku, qty in items]
    )
    # A stock that was rebuilt in between has them from the ledger.
    shelved = await parts.stock.receive(epoch, ref, items)
    newest = await parts.ledger.epoch()
    if newest != epoch:  # put on the shelf of a stock that is past, and lives on, cut off; the new one may not have it
        raise past(epoch, newest)
    return shelved or new
