"""`floodway capacity`: what a rate of orders takes, from what one order cost in a surge."""

import os
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from infra.cli.context import out, print_json, print_table
from loadtest.capacity import UTILISATION, needs, reach_per_s
from streams.errors import Refused

MOST = 1e12
"""Of anything: orders per second, microseconds."""


def capacity(report: Path, *, rate: Annotated[float, Parameter(name="--rate")] = 583_000.0, json: bool = False) -> None:
    """Tell what a rate of orders takes in processes and cores.

    Reads what one order cost, part by part, in a surge on this machine (`floodway surge --json > surge.json`), compares
    what the model expects of this machine with what that surge did, and scales the costs to the rate asked for.

    Parameters
    ----------
    report
        The JSON of a surge.
    rate
        Orders per second to plan for; by default the peak of Double 11 in 2020.
    json
        Print one JSON object instead of the tables.

    """
    if not 0 < rate < MOST:
        raise Refused(f"--rate {rate:g} must be above 0 and below {MOST:g}.")
    surge = _read(report)
    costs = surge.cpu_us_per_order
    cores = os.cpu_count() or 1
    reach = reach_per_s(costs, cores, surge.workers)
    found = needs(costs, rate)
    if json:
        plain = {n.part.name: {"cores": round(n.cores, 2), "processes": n.processes} for n in found}
        measured = {"model_per_s": round(reach, 1), "measured_per_s": surge.orders_per_s, "cores": cores}
        print_json({"rate_per_s": rate, "utilisation": UTILISATION, "this_machine": measured, "needs": plain})
        return
    print_table(
        [f"this machine, {cores} cores", "orders/s"],
        [("the model expects at most", f"{reach:,.0f}"), ("the surge did", f"{surge.orders_per_s:,.0f}")],
    )
    rows = [
        (n.part.name, f"{n.cpu_us_per_order:.1f}", f"{n.cores:,.1f}", "" if n.processes is None else n.processes)
        for n in found
    ]
    print_table([f"for {rate:,.0f} orders/s", "us per order", "cores", "processes"], rows)
    out.print(f"Each planned to be {UTILISATION:.0%} busy. What a process is:")
    for need in found:
        out.print(f"  {need.part.name}: {need.part.unit}")


class _Surge(msgspec.Struct):
    """What is read of a surge's report."""

    cpu_us_per_order: dict[str, Annotated[float, msgspec.Meta(ge=0, lt=MOST)]]
    orders_per_s: Annotated[float, msgspec.Meta(ge=0, lt=MOST)]
    workers: Annotated[int, msgspec.Meta(ge=1, lt=100_000)]


def _read(report: Path) -> _Surge:
    if not report.is_file():  # nor a device, which may have no end
        raise Refused(f"There is no file {report}; make it with `floodway surge --json > {report}`.")
    try:
        surge = msgspec.json.decode(report.read_bytes(), type=_Surge)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"{report} is no report of `floodway surge --json` ({error}).") from error
    if not surge.cpu_us_per_order.get("total"):
        raise Refused(f"{report} has no cost of an order; its surge ran on servers of others, or where no /proc is.")
    return surge
