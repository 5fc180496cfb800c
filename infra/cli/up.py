"""`floodway up`: the embedded stack in the foreground."""

import asyncio
import json as jsonlib
import os
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Literal

from infra.embedded import kafka
from infra.embedded.addresses import Addresses, Broker, Part, Standby, server_name
from infra.embedded.stack import Stack
from infra.embedded.state import InUse, owner_pid, running
from streams.errors import FloodwayError, StackError
from streams.settings import load, masked
from streams.topics import SUBMITTED

LOOK_INTERVAL_S = 0.25
STARTING_WAIT_S = 60.0
UNREAD_WAIT_S = 3.0
# A part that dies more often than this is not going to stay up.
RESTARTS_MAX = 3
# The shell's code for a command that Ctrl-C cut short; ending a stack that was up is no such thing.
INTERRUPTED = 130

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    *,
    broker: Literal["tansu", "kafka"] = "tansu",
    nodes: Literal[1, 3] = 1,
    standby: Standby = Standby.NONE,
    json: bool = False,
    fresh: bool = False,
    data_dir: Path = Path(".floodway"),
) -> int:
    """Start Kafka, Redis, Postgres and a Postgres replica on this machine, and keep them until interrupted.

    Prints the addresses as `export FLOODWAY_…=…` lines, which every other command reads. In a second terminal,
    `eval "$(floodway up)"` sets them: where a stack runs already, `up` prints its addresses and ends.

    Orders, stock and ledger are kept in the data directory for the next `up`. So are topics with `--broker kafka`;
    tansu keeps them in memory only, and they are gone when it ends.

    Parameters
    ----------
    broker
        tansu starts at once; kafka is Apache Kafka, needs Java 17, and is brought by Maven at its first start.
    nodes
        How many brokers; with 3 every record is on three of them, and on two before it counts as written.
    standby
        What Postgres' replica is for beside reading: `none`; `async`, it may take the primary's place, without what was
        committed last; `sync`, a commit waits for it, and nothing is lost. The addresses then name both servers.
    json
        Print one JSON object instead of the export lines.
    fresh
        Delete all data first.
    data_dir
        Where data and logs are kept.

    """
    addresses = _running_soon(data_dir)
    if addresses is None:
        with _signals_interrupt():
            try:
                return _run(broker, nodes, standby, json=json, fresh=fresh, data_dir=data_dir)
            except KeyboardInterrupt:
                _say("Interrupted while starting; nothing was left running.")
                return INTERRUPTED
            except InUse:  # another `up` began at the same moment and was first
                addresses = _running_soon(data_dir)
                if addresses is None:
                    raise
    if fresh:
        raise StackError(
            f"A stack runs in {data_dir} (process {owner_pid(data_dir)}) and uses its data. "
            "End it with Ctrl-C, then start with --fresh."
        )
    _say(f"The stack in {data_dir} runs already (process {owner_pid(data_dir)}). Its addresses:")
    _print(addresses, data_dir, already_running=True, as_json=json)
    return 0


def _run(broker: str, nodes: int, standby: Standby, *, json: bool, fresh: bool, data_dir: Path) -> int:
    if broker == Broker.KAFKA and not kafka.jars_dir().is_dir():
        _say(f"Bringing Apache Kafka {kafka.version()} to {kafka.jars_dir()}, once …")
        kafka.install()
    _say(f"Starting Kafka, Redis, Postgres and its replica in {data_dir} …")
    began = time.monotonic()
    stack = Stack.start(data_dir, fresh=fresh, broker=broker, nodes=nodes, standby=standby)
    try:
        _make_ready(stack.addresses)
        _warn_of_other_servers(stack.addresses)
        _print(stack.addresses, data_dir, already_running=False, as_json=json)
        _say(f'Ready in {time.monotonic() - began:.1f} s. In another terminal: eval "$(floodway up)". Ctrl-C ends it.')
        return _watch(stack)
    except KeyboardInterrupt:
        _say("Stopping; again Ctrl-C kills.")
        if stack.broker is Broker.TANSU:
            _warn_of_unread(stack.addresses)
        return 0
    finally:
        try:
            stack.stop()
        except KeyboardInterrupt:
            stack.abandon()


def _watch(stack: Stack) -> int:
    """Bring back what dies, until interrupted; 1 when a part does not stay up."""
    restarts: Counter[str] = Counter()
    while True:
        time.sleep(LOOK_INTERVAL_S)
        for part, node in stack.servers():
            name = server_name(part, node)
            if name in stack.pids():
                continue
            restarts[name] += 1
            if restarts[name] > RESTARTS_MAX:
                _say(f"{name} died {restarts[name]} times; giving up. See {stack.log_path(part, node)}.")
                return 1
            stack.restart(part, node)
            _make_ready(stack.addresses)
            in_memory = part is Part.KAFKA and stack.broker is Broker.TANSU
            lost = "; what its topics held is gone" if in_memory else ""
            _say(f"{name} had died and was started again{lost}. See {stack.log_path(part, node)}.")


def _make_ready(addresses: Addresses) -> None:
    """Create schema, topics and epoch where they are missing, so that the first order can be produced at once."""
    from agents.bootstrap import prepare  # noqa: PLC0415 - asyncpg and aiokafka take a moment to import

    asyncio.run(prepare(load(os.environ | addresses.environment())))


def _warn_of_unread(addresses: Addresses) -> None:
    """Say how many submissions go with the broker because no worker has taken them."""
    from agents.roles import group  # noqa: PLC0415 - with what follows
    from streams.stores.reader_kafka import lag  # noqa: PLC0415

    async def count() -> int:
        async with asyncio.timeout(UNREAD_WAIT_S):
            waiting, _ = await lag(addresses.kafka_bootstrap, group("intake"), SUBMITTED.name)
            return waiting

    with suppress(FloodwayError, TimeoutError):
        unread = asyncio.run(count())
        if unread:
            _say(f"{unread:,} submissions that no worker has decided are gone with the broker; submit them again.")


def _running_soon(data_dir: Path) -> Addresses | None:
    """The addresses of the stack in `data_dir`, waited for while another process starts it."""
    deadline = time.monotonic() + STARTING_WAIT_S
    while (addresses := running(data_dir)) is None and owner_pid(data_dir) is not None:
        if time.monotonic() > deadline:
            raise StackError(
                f"Process {owner_pid(data_dir)} has been starting or stopping a stack in {data_dir} for "
                f"{STARTING_WAIT_S:.0f} s. See its logs in {data_dir / 'logs'}; end it, or take another --data-dir."
            )
        time.sleep(LOOK_INTERVAL_S)
    return addresses


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP do what Ctrl-C does, and Ctrl-C works also for a job in the background."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in END_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _warn_of_other_servers(addresses: Addresses) -> None:
    for name, value in addresses.environment().items():
        other = os.environ.get(name, value)
        if other != value:
            _say(
                f"{name} is set to {masked(name, other)} in this shell, and stays so: commands here use that and not "
                f"{value}, until you set it."
            )


def _print(addresses: Addresses, data_dir: Path, *, already_running: bool, as_json: bool) -> None:
    environment = addresses.environment()
    if as_json:
        about = {
            "already_running": already_running,
            "owner_pid": owner_pid(data_dir),
            "data_dir": str(data_dir.resolve()),
        }
        print(jsonlib.dumps(environment | about), flush=True)
        return
    print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items()), flush=True)


def _say(words: str) -> None:
    """For people: standard output is for the shell."""
    with suppress(OSError):  # the terminal may be closed already; stopping goes on
        print(words, file=sys.stderr, flush=True)
