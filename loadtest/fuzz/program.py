"""The program `floodway` in this process: run with any arguments, environment and files, and no way to any server.

Nothing it does here leaves its directory: connections are refused before a packet is sent, servers and workers are not
started, and where stores are wanted their fakes stand in, which pass the same contract suites.
"""

import asyncio
import contextlib
import io
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from unittest.mock import patch

from streams.clock import ManualClock
from streams.errors import FloodwayError
from streams.parts import Parts
from streams.receiving import receive
from streams.settings import Settings
from streams.stores.ledger_fake import FakeLedger
from streams.stores.log_fake import FakeLog
from streams.stores.stock_fake import FakeStock
from streams.topics import ALL

MOST_BYTES = 8 << 30
"""Of address space: who asks for more, because a number was large, gets a `MemoryError`, and the machine lives on."""
MOST_S = 30
"""A run that takes longer hangs, or as good as: the quickest take a millisecond, the slowest some tens."""
NOW_MS = 1_790_000_000_000
LOOPBACK = {
    "FLOODWAY_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "FLOODWAY_REDIS_URL": "redis://127.0.0.1:1/0",
    "FLOODWAY_POSTGRES_DSN": "postgresql://floodway@127.0.0.1:1/floodway",
}
"""Servers that are not there."""
NOT_STARTED = (
    "infra.embedded.stack.Stack.start",
    "infra.embedded.kafka.install",
    "infra.workers.Supervisor.start",
    "infra.cli.init.wait_and_prepare",
    "agents.worker.run",
    "agents.watcher.run",
    "agents.exporter.serve.run",
    "agents.ops.reading.Reader.look",
    "agents.ops.reading.Reader.remember",
    "agents.http.serve.run",
    "loadtest.simulation.search._runner",
    "infra.cli.simulate.run_one",
    "loadtest.bench.cost.measure_cost",
    "loadtest.fuzz.run.run_batches",
    "loadtest.week_run.week",
)
"""What would start processes, bring software or compute for minutes: here it ends the command."""


class Hung(BaseException):
    """It took longer than `MOST_S`. No `Exception`, or a command might take it for one of its own."""


class Stopped(FloodwayError):
    """The command came to where it would have started something."""


class Ran(NamedTuple):
    """What a run came to. `error` is what it raised beside its exit, which a user would see as a traceback."""

    code: int | None
    out: str
    err: str
    error: BaseException | None = None


def run(argv: Sequence[str], environ: Mapping[str, str], *, stdin: bytes = b"") -> Ran:
    """Run the program with these arguments."""
    out, err = _Text("strict"), _Text("backslashreplace")
    surroundings = {**_KEPT, **environ}
    given = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8", errors="surrogateescape")
    code: int | None = None
    raised: BaseException | None = None
    with (
        patch.dict(os.environ, surroundings, clear=True),
        patch.object(sys, "argv", ["floodway", *argv]),
        patch.object(sys, "stdin", given),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _no_longer_than(MOST_S),
    ):
        try:
            program()()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
        except BaseException as error:
            raised = error
    return Ran(code, out.getvalue(), err.getvalue(), raised)


_KEPT = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ} | {
    "COLUMNS": "120",
    "HOME": "/nowhere",
}


class _Text(io.TextIOWrapper):
    """A standard stream as Python opens it: what cannot be encoded raises in one, and is escaped in the other."""

    def __init__(self, errors: str) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)

    def getvalue(self) -> str:
        """All that was written."""
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()


@cache
def program() -> Callable[[], None]:
    """What the command `floodway` calls."""
    (found,) = entry_points(group="console_scripts", name="floodway")
    main: Callable[[], None] = found.load()
    return main


@contextlib.contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Hung(f"nothing came of it in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def sandbox(*, with_stores: bool) -> Iterator[Path]:
    """A directory to run in, and nothing beyond it. `with_stores`: commands find fakes where they look for servers."""
    before = Path.cwd()
    with contextlib.ExitStack() as kept:
        directory = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="floodway-fuzz-")))
        kept.callback(os.chdir, before)
        limits = resource.getrlimit(resource.RLIMIT_AS)
        kept.callback(resource.setrlimit, resource.RLIMIT_AS, limits)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, limits[1]))
        os.chdir(directory)
        kept.enter_context(patch("asyncio.BaseEventLoop.create_connection", _refused))
        kept.enter_context(patch("asyncio.unix_events._UnixSelectorEventLoop.create_unix_connection", _refused_there))
        for what in NOT_STARTED:
            kept.enter_context(patch(what, _stopped(what)))
        if with_stores:
            kept.enter_context(patch("agents.bootstrap.connect", _connect_fakes))
            kept.enter_context(patch("agents.bootstrap.close", _close_nothing))
            kept.enter_context(patch("streams.stores.log_kafka.KafkaLog.connect", _connect_log))
        yield directory


def _stopped(what: str) -> Callable[..., Any]:
    def stopped(*_args: object, **_named: object) -> Any:
        raise Stopped(f"Here {what} would have been called; the fuzzer goes no further.")

    return stopped


async def _refused(_loop: object, _factory: object, host: object = None, port: object = None, **_named: object) -> Any:
    if isinstance(host, str):
        host.encode("idna")  # as the resolver would, with its errors
    raise ConnectionRefusedError(111, f"Connect call failed ({host!r}, {port!r})")


async def _refused_there(_loop: object, _factory: object, path: object = None, **_named: object) -> Any:
    raise FileNotFoundError(2, f"No such file or directory: {path!r}")


async def _connect_fakes(settings: Settings) -> Parts:
    """An installation with some goods in it."""
    stock, ledger = FakeStock(dedupe_retention_s=settings.dedupe_retention_s), FakeLedger()
    parts = Parts(stock, ledger, await _connect_log(None), ManualClock(NOW_MS), settings)
    await stock.install_epoch(await ledger.issue_epoch("first"))
    await receive(parts, "opening", [("TEA", 1_000), ("SKU-1", 10)])
    return parts


async def _connect_log(_brokers: object) -> FakeLog:
    return FakeLog({topic.name: 3 for topic in ALL})


async def _close_nothing(_parts: Parts) -> None:
    """Fakes have nothing to give back."""


def ask(call: Callable[[], Awaitable[object]]) -> BaseException | None:
    """What a call to a server raised, as a command would have it."""
    try:
        with _no_longer_than(MOST_S):
            asyncio.run(_awaited(call))
    except BaseException as error:
        return error
    return None


async def _awaited(call: Callable[[], Awaitable[object]]) -> object:
    return await call()
