"""`floodway bench`: how fast each part is here, how peers do the same job, and what an order costs."""

from typing import TYPE_CHECKING

import uvloop

from infra.cli.context import out, people, print_json, print_table
from streams.errors import Refused

if TYPE_CHECKING:
    from loadtest.bench.figures import Series
    from loadtest.bench.limits import Finding

LEAST_ORDERS = 1_000


def parts(*, orders: int = 20_000, only: list[str] | None = None, rounds: int = 3, json: bool = False) -> None:
    """Measure the limit of each part alone on this machine, and the whole beside them.

    Starts a stack of its own in a temporary directory. Rounds go over all parts in turn, so that whatever else the
    machine does hits all of them; medians are shown. CPU time is of the process that is measured and of all servers.

    Parameters
    ----------
    orders
        Orders in each round; cheap parts take more, stock Faust fewer.
    only
        Measure this part only; may be given several times.
    rounds
        Rounds that count, after one to warm up.
    json
        Print one JSON object.

    """
    from loadtest.bench.parts_run import measure_parts  # noqa: PLC0415 - faust and friends take a second to import

    _check(orders, rounds)
    with people.status("") as status:
        report = uvloop.run(measure_parts(orders, only or [], status.update, rounds=rounds))
    if json:
        print_json(report.as_dict())
        return
    _show_series(list(report.series.values()), "part")
    _show_ratios(report.ratios())
    _tell(report.noise)


def peers(*, orders: int = 100_000, rounds: int = 5, actors: list[int] | None = None, json: bool = False) -> int:
    """Do the same job, on the same orders and servers, as others would, and compare.

    Floodway's intake as shipped; stock Faust one order at a time, with the number of actors that suits it best; the
    loop by hand over aiokafka with our stages; Postgres alone with row locks, on 1,000 SKUs and on one hot SKU. Each
    outcome is verified: all decided, units taken as accepted, none below zero. Exit code 1 when one was not.

    Parameters
    ----------
    orders
        Orders in each round of the fastest; slow ones get fewer.
    rounds
        Rounds that count.
    actors
        How many orders stock Faust has in hand at a time; may be given several times, the fastest is taken. By
        default 1, 8, 32 and 128 are tried.
    json
        Print one JSON object.

    """
    from loadtest.bench.peers_run import CONCURRENCIES, measure_peers  # noqa: PLC0415 - faust takes a second to import

    _check(orders, rounds)
    if actors and min(actors) < 1:
        raise Refused(f"--actors {min(actors)} must be at least 1.")
    tried = sorted(set(actors or CONCURRENCIES))
    with people.status("") as status:
        report = uvloop.run(measure_peers(orders, status.update, rounds=rounds, actors=tried))
    if json:
        print_json(report.as_dict())
        return 1 if report.faults else 0
    _show_series(list(report.series.values()), "who")
    trial = ", ".join(f"{actors}: {rate:,.0f}/s" for actors, rate in report.concurrencies.items())
    out.print(f"stock Faust by number of actors: {trial}")
    _show_ratios(report.ratios())
    _tell(report.noise)
    for fault in report.faults:
        out.print(f"wrong: {fault}", style="bold red")
    if not report.faults:
        out.print("All orders were decided, and units taken are those of accepted orders.", style="bold green")
    return 1 if report.faults else 0


def http(*, orders: int = 8_000, rounds: int = 3, json: bool = False) -> None:
    """Measure what an order costs by way of the HTTP front, single, under idempotency keys and in batches.

    Starts a stack and a front of its own. Orders count when they are acknowledged. What one core would take is told by
    the front's processor time; the rate beside it is of this machine with all that runs on it.

    Parameters
    ----------
    orders
        Orders in each round; batches take five times as many.
    rounds
        Rounds that count, after one to warm up; medians are shown.
    json
        Print one JSON object.

    """
    from loadtest.bench.http import measure_http  # noqa: PLC0415 - aiokafka and asyncpg take a moment to import

    _check(orders, rounds)
    with people.status("") as status:
        series = uvloop.run(measure_http(orders, status.update, rounds=rounds))
    rows = [(s.name, round(s.per_s), round(s.client_cpu_us, 1), round(1e6 / s.client_cpu_us)) for s in series]
    if json:
        names = ("accepted_per_s", "front_cpu_us_per_order", "accepted_per_core_s")
        print_json({name: dict(zip(names, figures, strict=True)) for name, *figures in rows})
        return
    print_table(["how", "accepted/s here", "front CPU µs an order", "accepted/s a core"], rows)


def limits(*, update: bool = False, json: bool = False) -> int:
    """Measure what an order costs in each stage, as a multiple of fixed work, and compare with the limits.

    The multiple is steady on a machine that others use, so a test holds the limits. Exit code 1 when one is passed.

    Parameters
    ----------
    update
        Write what is measured now, with a headroom of 25 %, as the limits from here on.
    json
        Print one JSON object.

    """
    from loadtest.bench import limits as held  # noqa: PLC0415 - aiokafka and asyncpg take a moment to import
    from loadtest.bench.cost import measure_cost  # noqa: PLC0415

    with people.status("measuring"):
        cost = uvloop.run(measure_cost())
    findings = held.compare(cost, held.write(cost) if update else held.read())
    over = [finding for finding in findings if finding.over]
    if json:
        print_json({"stages": {f.stage: _finding(f) for f in findings}, "over": [f.stage for f in over]})
    else:
        rows = [(f.stage, f"{f.us_per_order:.2f}", f"{f.ratio:.2f}", f"{f.limit or 0:.2f}") for f in findings]
        print_table(["stage", "best µs an order", "times fixed work", "limit"], rows)
        for finding in over:
            out.print(str(finding), style="bold red")
    return 1 if over else 0


def _finding(finding: "Finding") -> dict[str, float | None]:
    return {"us_per_order": round(finding.us_per_order, 3), "ratio": round(finding.ratio, 3), "limit": finding.limit}


def _check(orders: int, rounds: int) -> None:
    if orders < LEAST_ORDERS:
        raise Refused(f"--orders {orders}: a round needs at least {LEAST_ORDERS}, or the clocks are too coarse.")
    if rounds < 1:
        raise Refused(f"--rounds {rounds} must be at least 1.")


def _show_series(series: "list[Series]", what: str) -> None:
    columns = [what, "best/s", "median/s", "spread", "client CPU µs", "servers CPU µs", "script µs"]
    print_table(
        columns,
        [
            (
                one.name,
                round(one.best_per_s),
                round(one.per_s),
                f"{one.spread:.0%}",
                round(one.client_cpu_us, 1),
                round(one.servers_cpu_us, 1),
                f"{script:.1f}" if (script := one.median(lambda s: s.also.get("script_us_per_record", 0.0))) else "",
            )
            for one in series
        ],
    )


def _show_ratios(ratios: dict[str, float | None]) -> None:
    print_table(["ratio", ""], [(name.replace("_", " "), f"{value}") for name, value in ratios.items()])


def _tell(noise: str | None) -> None:
    if noise:
        out.print(noise, style="bold yellow")
