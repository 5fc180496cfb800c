"""`floodway stock restock`: sold units that have come back, after somebody has looked at them."""

import re

from infra.cli.context import connected, out, print_json
from infra.cli.promo import sku_and_units
from streams.core.books import RestockAsked
from streams.core.restock import CANCELLED
from streams.errors import Fenced, Refused, UnknownThing
from streams.finding import find, which_order
from streams.messages import VISIBLE
from streams.restocking import claim_and_do

MAX_REF = 64


async def restock(which: str, *lines: str, ref: str, json: bool = False) -> None:
    """Put sold units of an order back on the shelf: `floodway stock restock ORDER SKU-1=2 --ref RMA-7`.

    They go to the pool they were sold from, or to main when its promotion has closed. What is on the shelf when an
    order is cancelled, and what has passed the inspection of a return, goes back by itself; this is for all else.

    Parameters
    ----------
    which
        The order's id, or any other of its names.
    lines
        SKU=UNITS; without any all that was sold and is not back.
    ref
        What tells this restock from others of the order: the same again changes nothing.
    json
        Print one JSON object.

    """
    if len(ref) > MAX_REF or re.fullmatch(VISIBLE, ref) is None:
        raise Refused(f"--ref {ref[:80]!r} must be 1 to {MAX_REF} visible characters.")
    if ref == CANCELLED or ref.startswith("return:"):
        raise Refused(f"--ref {ref!r} is what a cancellation or a return puts back by itself; take another.")
    wanted = dict(sku_and_units(text) for text in lines)
    if len(wanted) < len(lines):
        raise Refused("A SKU stands twice; give each once, with all its units.")
    name = which_order(which)
    async with connected() as parts:
        found = await find(parts.ledger, name)
        if found is None:
            raise UnknownThing(f"No decision on {which} is known; was it submitted, and does an intake worker run?")
        epoch = await parts.ledger.epoch()
        if epoch is None:
            raise Fenced("The ledger has issued no epoch yet; run `floodway init`.")
        order_id = found[1].order_id
        done = await claim_and_do(parts, [RestockAsked(order_id, ref, wanted or None)], epoch)
    back = [claim for claim in done if claim.ref == ref]
    units = {sku: qty for claim in back for sku, qty in claim.quantities}
    if json:
        print_json({"order_id": str(order_id), "ref": ref, "units": units, "done": bool(back)})
    elif back:
        told = ", ".join(f"{qty} of {sku}" for sku, qty in units.items())
        out.print(f"Order {order_id}: {told} put back on the shelf under {ref}.")
    else:
        out.print(f"Order {order_id}: nothing to put back under {ref}; it was done before, or nothing is left.")
