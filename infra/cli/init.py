"""`floodway init`: make servers of one's own ready."""

from infra.cli.context import out, print_json, settings


async def init(*, json: bool = False) -> None:
    """Create what is missing: the ledger's schema, the topics, the stock's epoch. Safe to repeat.

    `floodway up` does this by itself; servers of your own need it once, and again after each new version.
    """
    from agents.bootstrap import prepare  # noqa: PLC0415 - asyncpg and aiokafka take a moment to import

    done = await prepare(settings())
    if json:
        print_json({"epoch": done.epoch, "migrations": done.migrations, "topics": done.topics})
        return
    out.print(f"migrations applied  {', '.join(done.migrations) or 'none'}")
    out.print(f"topics created      {', '.join(done.topics) or 'none'}")
    out.print(f"epoch               {done.epoch}")
