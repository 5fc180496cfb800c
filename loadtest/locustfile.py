"""Load tests with Locust: `locust -f loadtest/locustfile.py`; see docs/load-tests.md.

Wires the parts together: options, users, the shape that ends a run, and the messages between master and workers.
"""

import os
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, LoadTestShape, User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import STATE_INIT, LocalRunner, MasterRunner, WorkerRunner
from locust.web import WebUI

from loadtest.swarm import http, options
from loadtest.swarm.charts import live
from loadtest.swarm.director import Director
from loadtest.swarm.session import Session
from streams.settings import PREFIX

SPAWN_PER_S = 100.0
_parts: dict[str, Any] = {}
"""This process' session and director; Locust makes users and shape itself, and gives them nothing."""


class KafkaUser(User):
    """One for each of Locust's processes: stands for its storefront, which has one producer for all its shoppers.

    How many shoppers there are means nothing to an open model; how many orders fall due does, and the storefront's
    schedule says that. So this one has nothing to do but to be counted.
    """

    @task
    def stand_for_the_storefront(self) -> None:
        """Wait; the storefront submits."""
        time.sleep(1)


class HttpUser(FastHttpUser):
    """One connection to the HTTP front: takes the next order that is due, or some, and posts them."""

    host = "http://the-director-tells"

    @task
    def submit(self) -> None:
        """Submit what is due; wait when there is nothing left."""
        session: Session = _parts["session"]
        session.going.wait()
        orders = session.due.next(session.http.batch) if session.due else []
        if not orders:
            time.sleep(1)
        elif session.http.batch > 1:
            http.post_batch(self.client, session, orders)
        else:
            http.post_one(self.client, session, orders[0])


class Swarm(LoadTestShape):
    """Has users in each process as long as the director directs; how the rate goes is the scenario's."""

    def tick(self) -> tuple[int, float, list[type[User]] | None] | None:
        """See `LoadTestShape`."""
        director: Director = _parts["director"]
        assert self.runner is not None
        if self.runner.state == STATE_INIT:  # the first tick of a run
            director.expect()
        if director.is_over:
            return None
        asked = director.options
        if asked.via == "kafka":
            return director.processes, SPAWN_PER_S, [KafkaUser]
        return director.processes * asked.connections, SPAWN_PER_S, [HttpUser]


@events.init_command_line_parser.add_listener
def _add_options(parser: LocustArgumentParser) -> None:
    options.add(parser)


@events.init.add_listener
def _start(environment: Environment, runner: object, web_ui: WebUI | None, **_: object) -> None:
    if not isinstance(runner, WorkerRunner):
        assert isinstance(runner, MasterRunner | LocalRunner)
        _direct(environment, runner, web_ui)
    if not isinstance(runner, MasterRunner):
        assert isinstance(runner, WorkerRunner | LocalRunner)
        session = _parts["session"] = Session(environment)
        runner.register_message("floodway-share", lambda msg, **_: session.prepare(msg.data))
        runner.register_message("floodway-go", lambda msg, **_: session.go(msg.data))
        runner.register_message("floodway-stop", lambda **_: session.stop())


def _direct(environment: Environment, runner: MasterRunner | LocalRunner, web_ui: WebUI | None) -> None:
    asked = environment.parsed_options
    assert asked is not None
    if not web_ui:
        options.asked_for(asked)  # what does not go together is told before anything is started
    theirs = PREFIX + "KAFKA_BOOTSTRAP" in os.environ
    workers = asked.intake_workers if asked.intake_workers is not None else int(not theirs)
    director = Director(environment, Path(asked.data_dir), workers=workers)
    _parts["director"] = director
    runner.register_message("floodway-ready", lambda msg, **_: director.ready(msg.data))
    runner.register_message("floodway-beat", lambda msg, **_: director.beat(msg.data))
    runner.register_message("floodway-ended", lambda msg, **_: director.ended(msg.data))
    runner.register_message("floodway-lost", lambda msg, **_: director.lost(msg.data))
    environment.events.test_start.add_listener(lambda **_: director.start())
    environment.events.test_stopping.add_listener(lambda **_: director.stop())
    if web_ui:
        assert web_ui.app is not None

        @web_ui.app.route("/charts")
        def _charts() -> str:
            return live(director.scenario.name if director.scenario else "no run", director.course.moments())


@events.quitting.add_listener
def _end(**_: object) -> None:
    for part in ("session", "director"):  # storefronts before the servers they use
        if part in _parts:
            _parts[part].end()
