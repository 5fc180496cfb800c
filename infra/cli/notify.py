"""`floodway notify`: who is told of what, and what still waits to be told."""

import os
from datetime import UTC, datetime
from pathlib import Path

from infra.cli.context import out, print_json, print_table, settings
from streams.core.rules import lasting
from streams.core.sinks import Logged, Mail, Plan, Target
from streams.notify.config import load_plan, load_wordings


def check(file: Path | None = None, *, templates: Path | None = None, json: bool = False) -> None:
    """Check a file of targets and routes as the worker would, secrets and texts too; exit 2 when something is wrong.

    What is wrong is told with file, line and what to write instead. Needs no servers, and sends nothing.

    Parameters
    ----------
    file
        A file such as FLOODWAY_NOTIFY_FILE names; without it the one that comes along.
    templates
        A folder with texts of one's own.
    json
        Print one JSON object a target.

    """
    wordings = load_wordings(None if templates is None else str(templates))
    plan = load_plan(None if file is None else str(file), os.environ, wordings)
    rows = [
        {"target": name, "to": _where(target), "events": ", ".join(_events(plan, name)) or "nothing"}
        for name, target in plan.targets.items()
    ]
    if json:
        for row in rows:
            print_json(row)
    else:
        print_table(["target", "to", "events"], [tuple(row.values()) for row in rows])


async def waiting(*, json: bool = False) -> None:
    """Tell how many messages wait for each target, and for how long the first has.

    Parameters
    ----------
    json
        Print one JSON object a target.

    """
    from streams.stores.deliveries_postgres import PostgresDeliveries  # noqa: PLC0415 - asyncpg takes a moment

    using = settings()
    deliveries = await PostgresDeliveries.connect(using.postgres_dsn, lanes=1)
    try:
        found = await deliveries.standing()
    finally:
        await deliveries.close()
    now = datetime.now(UTC)
    if json:
        for one in found:
            print_json(one._asdict())
    elif not found:
        out.print("Nothing waits.")
    else:
        rows = [(one.target, one.waiting, lasting((now - one.since).total_seconds())) for one in found]
        print_table(["target", "waiting", "for"], rows)


def _where(target: Target) -> str:
    if isinstance(target, Logged):
        return "the worker's log"
    if isinstance(target, Mail):
        return f"{', '.join(target.to)} by {target.host}:{target.port}"
    return target.url


def _events(plan: Plan, name: str) -> list[str]:
    return list(dict.fromkeys(event for route in plan.routes if name in route.to for event in route.events))
