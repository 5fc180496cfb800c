"""`floodway rewind`: everything since a time is read again."""

import time

from infra.cli.context import out, parse_duration, print_json, settings
from streams.errors import Refused
from streams.topics import REPORTED, SUBMITTED


async def rewind(*, since: str, json: bool = False) -> None:
    """Have intake and lifecycle read again what came in since then; what the ledger has is left as it is.

    For after a failover of Postgres that lost what the old primary had committed last: decisions are written once more
    as they were announced, as long as Redis remembers them, and payments and cancellations are booked. All are
    announced again, with the same content. Workers must be stopped meanwhile. It takes Apache Kafka: the embedded tansu
    looks nothing up by its time.

    Parameters
    ----------
    since
        How long ago (90s, 15m, 2h) by when orders were sent, so from well before the failover: some had waited. To read
        too much is only work.
    json
        Print one JSON object.

    """
    from agents.roles import group  # noqa: PLC0415 - with what follows
    from streams.stores.kafka_access import access  # noqa: PLC0415
    from streams.stores.rewind_kafka import rewind as rewind_group  # noqa: PLC0415

    try:
        back_ms = int(parse_duration(since).total_seconds() * 1000)
    except ValueError as error:
        raise Refused(f"--since: {error}.") from None
    brokers, since_ms = access(settings()), time.time_ns() // 1_000_000 - back_ms
    read_again = {
        role: await rewind_group(brokers, group(role), topic.name, since_ms)
        for role, topic in (("intake", SUBMITTED), ("lifecycle", REPORTED))
    }
    if json:
        print_json(read_again)
        return
    counted = ", ".join(f"{count:,} by {role}" for role, count in read_again.items())
    out.print(f"Records that will be read again: {counted}. Start the workers, then `floodway verify`.")
