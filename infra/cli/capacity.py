"""`floodway capacity`: what a rate of orders takes, from what one order cost in a surge."""

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from infra.cli.context import out, print_json, print_table
from loadtest.capacity import UTILISATION, needs, reach_per_s
from streams.errors import Refused


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
    if not rate > 0:
        raise Refused(f"--rate {rate:g} must be above 0.")
    surge = _read(report)
    costs = surge["cpu_us_per_order"]
    cores = os.cpu_count() or 1
    reach = reach_per_s(costs, cores, surge["workers"])
    found = needs(costs, rate)
    if json:
        plain = {n.part.name: {"cores": round(n.cores, 2), "processes": n.processes} for n in found}
        measured = {"model_per_s": round(reach, 1), "measured_per_s": surge["orders_per_s"], "cores": cores}
        print_json({"rate_per_s": rate, "utilisation": UTILISATION, "this_machine": measured, "needs": plain})
        return
    print_table(
        [f"this machine, {cores} cores", "orders/s"],
        [("the model expects at most", f"{reach:,.0f}"), ("the surge did", f"{surge['orders_per_s']:,.0f}")],
    )
    rows = [
        (n.part.name, f"{n.cpu_us_per_order:.1f}", f"{n.cores:,.1f}", "" if n.processes is None else n.processes)
        for n in found
    ]
    print_table([f"for {rate:,.0f} orders/s", "us per order", "cores", "processes"], rows)
    out.print(f"Each planned to be {UTILISATION:.0%} busy. What a process is:")
    for need in found:
        out.print(f"  {need.part.name}: {need.part.unit}")


def _read(report: Path) -> dict[str, Any]:
    try:
        surge = msgspec.json.decode(report.read_bytes())
        _ = surge["cpu_us_per_order"]["total"], surge["orders_per_s"], surge["workers"]
    except FileNotFoundError as error:
        raise Refused(f"There is no {report}; make it with `floodway surge --json > {report}`.") from error
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise Refused(f"{report} is no report of `floodway surge --json` ({error!r}).") from error
    return dict(surge)
