"""`floodway bench`: how fast each part is here, how peers do the same job, and what an order costs."""

from typing import TYPE_CHECKING

import uvloop

from infra.cli.context import out, people, print_json, print_table
from streams.errors import Refused

if TYPE_CHECKING:
    from loadtest.bench.figures import Series

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
    print_table(["ratio", ""], [(name.replace("_", " "), f"{value}") for name, value in report.ratios().items()])
    _tell(report.noise)


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


def _tell(noise: str | None) -> None:
    if noise:
        out.print(noise, style="bold yellow")
