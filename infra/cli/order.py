"""`floodway order`: an answer to "where is my order?"."""

from msgspec import structs

from infra.cli.context import out, print_json, print_table, settings
from streams.errors import UnknownThing
from streams.finding import which_order
from streams.story import Story, tell


async def order(which: str, *, token: str | None = None, json: bool = False) -> None:
    """Tell what was decided on an order and what became of it, read from the replica.

    Parameters
    ----------
    which
        The order's id, `channel:submission_id`, `channel:number` with the channel's own number, or its trace id.
    token
        A decision's `read_token`: the answer then shows at least what that decision showed.
    json
        Print one JSON object.

    """
    from agents.bootstrap import connect_ledger  # noqa: PLC0415 - asyncpg takes a moment to import

    wanted = which_order(which)
    ledger = await connect_ledger(settings())
    try:
        story = await tell(ledger, wanted, token=token)
    finally:
        await ledger.close()
    if story is None:
        raise UnknownThing(f"No decision on {which} is known; was it submitted, and does an intake worker run?")
    if json:
        print_json(_plain(story))
        return
    for name, value in _plain(story).items():
        if value not in (None, []) and not isinstance(value, list):
            out.print(f"{name:<16} {value}")
    if story.lines:
        print_table(["SKU", "pool", "units"], [structs.astuple(line) for line in story.lines])
    print_table(["at", "what", "from", "result"], [(m.at, m.what, m.source, m.result or "") for m in story.moments])


def _plain(story: Story) -> dict[str, object]:
    plain: dict[str, object] = {}
    for name, value in structs.asdict(story).items():
        if isinstance(value, tuple):
            plain[name] = [structs.asdict(one) for one in value]
        else:
            plain[name] = str(value) if name == "order_id" else value
    return plain
