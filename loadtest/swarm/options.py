"""What the load test adds to Locust's command line, and to the form of its web page."""

import argparse
from pathlib import Path

from locust.argument_parser import LocustArgumentParser

from loadtest.swarm.scenarios import SCENARIOS, Asked, Scenario, scenario
from streams.errors import Refused

VIAS = ("kafka", "http", "http-batch")
MIXES = ("", "one-line", "baskets", "hot")
"""Mixes in which each order has one decision and no record is sent twice."""


def add(parser: LocustArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="steady", help="steady by default")
    parser.add_argument("--via", choices=VIAS, default="kafka", help="where orders go in; kafka by default")
    parser.add_argument("--rate", type=float, default=0.0, help="the scenario's highest rate, in orders a second")
    parser.add_argument("--orders", type=int, default=0, help="orders in all")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long orders are submitted")
    parser.add_argument("--mix", choices=MIXES, default="", help="what is ordered")
    parser.add_argument(
        "--decision-timeout", type=float, default=30.0, help="an order not decided so soon has failed, s"
    )
    parser.add_argument("--max-p99", type=float, default=0.0, help="fail when decisions take longer, ms")
    parser.add_argument("--connections", type=int, default=16, help="over HTTP, of each process of Locust")
    parser.add_argument("--batch", type=int, default=100, help="orders in a request at the most, with http-batch")
    token = {"is_secret": True, "env_var": "LOADTEST_TOKEN"}
    parser.add_argument("--token", default="", help="of the HTTP front, where it asks for one", **token)
    own = {"include_in_web_ui": False}
    parser.add_argument("--charts", default="", help="save our charts in this HTML file", **own)
    parser.add_argument("--verdict", default="", help="save the verdict in this JSON file", **own)
    parser.add_argument(
        "--intake-workers",
        type=int,
        default=None,
        help="intake processes to start; 1 by default, none where FLOODWAY_KAFKA_BOOTSTRAP names servers of your own",
        **own,
    )
    parser.add_argument(
        "--data-dir",
        default=".floodway/locust",
        help="where the embedded stack keeps data and logs; earlier data there are deleted",
        **own,
    )


def asked_for(options: argparse.Namespace) -> Scenario:
    """The scenario that the options ask for. Raises `Refused` for what does not go together."""
    mixes = {None, *MIXES} - {""}
    mix = options.mix or None
    assert mix in mixes
    found = scenario(options.scenario, Asked(options.rate, options.orders, options.seconds, mix))
    if options.via != "kafka" and found.schedule is None:
        raise Refused(f"{found.name} has no rate, and goes through Kafka; take steady --via {options.via}.")
    if options.decision_timeout <= 0:
        raise Refused(f"--decision-timeout {options.decision_timeout:g} must be above 0.")
    if options.connections < 1 or options.batch < 1:
        raise Refused("--connections and --batch must be at least 1.")
    return found


def charts_path(options: argparse.Namespace) -> Path | None:
    """Where our charts go: where asked, else beside Locust's own report, else nowhere."""
    if options.charts:
        return Path(options.charts)
    html = getattr(options, "html_file", None)
    return Path(html).with_name(f"{Path(html).stem}-charts.html") if html else None
