"""The part of a run in Locust's master: stage, shares, start, end, audit, verdict."""

import argparse
import json
import logging
import threading
import time
from copy import copy
from pathlib import Path
from typing import Any

import msgspec
from locust.env import Environment
from locust.runners import STATE_MISSING, STATE_RUNNING, MasterRunner

from loadtest.plan import run_name
from loadtest.swarm.charts import charts
from loadtest.swarm.child import Child
from loadtest.swarm.course import Course
from loadtest.swarm.options import asked_for, charts_path
from loadtest.swarm.report import lines
from loadtest.swarm.scenarios import Scenario
from loadtest.swarm.verdict import Verdict, verdict
from loadtest.swarm.words import Ended, Share, beat_from, ended_from, plain
from streams.errors import FloodwayError

UP_WAIT_S, READY_WAIT_S, AUDIT_WAIT_S = 180.0, 120.0, 600.0
LEAD_MS = 1_000
"""A run begins so long after everybody was told when, in which the word gets to all machines."""
GRACE_S = 30.0
"""Storefronts that have said nothing for so long, beyond the time-out, never will."""
LOOK_S = 0.1

logger = logging.getLogger("floodway")


class Director:
    """Directs one run after another, as the options were when it was expected; `is_over` tells when to end one."""

    def __init__(self, environment: Environment, data_dir: Path, *, workers: int) -> None:
        self._environment = environment
        argv = ["--data-dir", str(data_dir), "--workers", str(workers)]
        self._up: dict[str, Any] = {}
        self._heard: dict[str, Any] = {}
        self._gone = ""
        self._stage = Child("loadtest.swarm.stage", argv, self._hear_stage)
        self._running: threading.Thread | None = None
        self.expect()
        self._begin()

    def expect(self) -> None:
        """A run is about to be asked for. What is edited from now on, on the web page, is for the next."""
        self._over = threading.Event()
        self.processes = max(1, len(self._clients()))
        """How many of Locust's processes submit; a worker that is lost meanwhile is not made up for."""
        asked = self._environment.parsed_options
        assert asked is not None, "Locust has read its command line"
        self.options: argparse.Namespace = copy(asked)

    @property
    def is_over(self) -> bool:
        """Whether the run that was last expected has ended."""
        return self._over.is_set()

    def _begin(self) -> None:
        self.course = Course()
        self.scenario: Scenario | None = None
        self._ready: set[int] = set()
        self._ends: dict[int, Ended] = {}
        self._troubles: list[str] = []
        self._heard.clear()
        self._started_at_ms = 0
        self._heard_at = 0.0

    def start(self) -> None:
        """Begin a run; one that is still under way is waited for."""
        if self._running is not None:
            self._running.join()
        self._begin()
        self._running = threading.Thread(target=self._run, args=(self._over, self.options), daemon=True)
        self._running.start()

    def stop(self) -> None:
        """Let all storefronts submit no more; what they sent is waited for, and audited."""
        for client_id in [] if self.is_over else self._clients():
            self._tell(client_id, "stop", {})

    def end(self) -> None:
        """End servers and workers. A run that is under way has failed."""
        if self._running is not None and not self.is_over:
            logger.error("The run was broken off; nothing was audited.")
            self._environment.process_exit_code = 1
        self._stage.end()

    def ready(self, told: dict[str, Any]) -> None:
        """A storefront is ready."""
        self._ready.add(told["index"])

    def beat(self, told: dict[str, Any]) -> None:
        """A storefront tells how it goes."""
        self._heard_at = time.monotonic()
        self.course.add(beat_from(told))

    def ended(self, told: dict[str, Any]) -> None:
        """A storefront has done its share."""
        end = ended_from(told)
        self._ends[end.index] = end

    def lost(self, told: dict[str, Any]) -> None:
        """A storefront ended without a word."""
        self._troubles.append(f"Storefront {told['index']} ended with {told['code']}; what it wrote is above.")

    def _run(self, over: threading.Event, options: argparse.Namespace) -> None:
        books = None
        try:
            self.scenario = scenario = asked_for(options)
            shares = self._prepare(scenario, options)
            self._go(scenario, shares)
            self._until_ended(len(shares), options.decision_timeout)
            books = self._ask("audit", None, "books", AUDIT_WAIT_S)
        except FloodwayError as error:
            self._troubles.append(str(error))
            self.stop()
        if self.scenario is not None:
            self._judge(self.scenario, books, options)
        else:
            logger.error(self._troubles[-1])
            self._environment.process_exit_code = 1
        over.set()

    def _prepare(self, scenario: Scenario, options: argparse.Namespace) -> list[Share]:
        up = self._await(lambda: self._up, UP_WAIT_S, "The stage did not come up")
        clients, run = self._clients(), run_name()
        if not clients:
            raise FloodwayError("No worker of Locust is there to submit anything.")
        of = len(clients)
        shares = [
            Share(
                run=f"{run}-{index}" if of > 1 else run,
                index=index,
                of=of,
                orders=self._orders(scenario, index, of),
                partitions=up["partitions"],
                timeout_s=options.decision_timeout,
                mix=scenario.mix,
                phases=scenario.phases,
                window=scenario.window // of,
                sends=options.via == "kafka",
                environment=up["environment"],
            )
            for index in range(of)
        ]
        self._ask("provide", [plain(share) for share in shares], "provided", READY_WAIT_S)
        url = self._environment.host or ""
        if options.via != "kafka" and not url:
            url = self._ask("front", None, "front", UP_WAIT_S)
        for client_id, share in zip(clients, shares, strict=True):
            asked = {"url": url, "batch": options.batch if options.via == "http-batch" else 1, "token": options.token}
            self._tell(client_id, "share", {"share": plain(share), "http": asked})
        self._await(lambda: len(self._ready) == of, READY_WAIT_S, "Not all storefronts got ready")
        return shares

    @staticmethod
    def _orders(scenario: Scenario, index: int, of: int) -> int:
        share = Share("", index, of, 0, 1, 1.0, phases=scenario.phases)
        return share.schedule.total if share.schedule else (scenario.orders - index - 1) // of + 1

    def _go(self, scenario: Scenario, shares: list[Share]) -> None:
        runner = self._environment.runner
        self._await(
            lambda: runner is None or runner.state == STATE_RUNNING, READY_WAIT_S, "Locust's users did not start"
        )
        self._started_at_ms = time.time_ns() // 1_000_000 + LEAD_MS
        self._environment.stats.total.start_time = self._started_at_ms / 1000
        for client_id in self._clients():
            self._tell(client_id, "go", {"started_at_ms": self._started_at_ms})
        rate = f"up to {scenario.rate_per_s:,.0f} orders/s" if scenario.rate_per_s else "as fast as they are decided"
        logger.info(f"{scenario.name}: {scenario.orders:,} orders from {len(shares)} storefronts, {rate}.")

    def _until_ended(self, of: int, timeout_s: float) -> None:
        self._heard_at = time.monotonic()
        while len(self._ends) < of and not self._troubles:
            if time.monotonic() - self._heard_at > timeout_s + GRACE_S:
                raise FloodwayError(f"Nothing was heard of {of - len(self._ends)} storefronts any more.")
            if len(self._clients()) < of:
                raise FloodwayError("A worker of Locust was lost, and what its storefront did with it.")
            time.sleep(LOOK_S)

    def _judge(self, scenario: Scenario, books: dict[str, Any] | None, options: argparse.Namespace) -> None:
        found = verdict(
            scenario,
            self.course,
            list(self._ends.values()),
            books,
            troubles=self._troubles + self._failed_requests(),
            max_p99_ms=options.max_p99,
        )
        for line in lines(found):
            logger.info(line)
        for failure in found.failures:
            logger.error(failure)
        self._save(found, options)
        self._environment.process_exit_code = 0 if found.passed else 1

    def _failed_requests(self) -> list[str]:
        """Requests over HTTP that failed; the orders' own failures are told apart."""
        wanted = sum(self.course.decided.values()) + self.course.timed_out
        deadline = time.monotonic() + 5.0
        stats = self._environment.stats
        while stats.num_requests < wanted and time.monotonic() < deadline:
            time.sleep(LOOK_S)  # workers report every three seconds
        failed = stats.num_failures - self.course.timed_out - self.course.unproduced
        return [f"{failed:,} requests failed."] if failed > 0 else []

    def _save(self, found: Verdict, options: argparse.Namespace) -> None:
        path = charts_path(options)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(charts(found, self.course.moments()), encoding="utf-8")
            logger.info(f"Saved {path}.")
        if options.verdict:
            said = {"passed": found.passed, **msgspec.to_builtins(found)}
            Path(options.verdict).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")

    def _clients(self) -> list[str]:
        runner = self._environment.runner
        if isinstance(runner, MasterRunner):
            return sorted(client.id for client in runner.clients.all if client.state != STATE_MISSING)
        return ["local"]

    def _tell(self, client_id: str, what: str, data: dict[str, Any]) -> None:
        runner = self._environment.runner
        assert runner is not None
        runner.send_message(f"floodway-{what}", data, client_id)

    def _hear_stage(self, what: str, value: Any) -> None:
        match what:
            case "log":
                logger.info(value)
            case "up":
                self._up = value
            case "pools":
                at_s = (time.time_ns() // 1_000_000 - self._started_at_ms) // 1000
                if self._started_at_ms and at_s >= 0:
                    self.course.add_pools(int(at_s), value)
            case "gone":
                self._gone = self._gone or f"The stage ended with {value}."
            case "failed":
                self._heard[what] = value
                self._gone = value if not self._up else self._gone  # it could not come up, and ends
            case _:
                self._heard[what] = value

    def _ask(self, what: str, value: Any, answer: str, within_s: float) -> Any:
        self._stage.tell(json.dumps([what, value]))
        return self._await(lambda: self._heard.get(answer), within_s, f"The stage did not {what}")

    def _await(self, wanted: "Any", within_s: float, otherwise: str) -> Any:
        deadline = time.monotonic() + within_s
        while not (found := wanted()):
            if wrong := self._heard.get("failed") or self._gone:
                raise FloodwayError(str(wrong))
            if self._troubles:
                raise FloodwayError(self._troubles.pop())
            if time.monotonic() > deadline:
                raise FloodwayError(f"{otherwise} within {within_s:g} s.")
            time.sleep(LOOK_S)
        return found
