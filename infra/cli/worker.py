"""`floodway worker`: the processes that do the work."""

import atexit
import os
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from infra.autoscale import Follower, ask
from infra.cli.context import people, settings
from infra.workers import LOG_DIR, Supervisor, worker_argv
from streams.errors import Refused
from streams.settings import Settings

Role = Literal["intake", "lifecycle", "notify", "watch"]


def worker(*roles: Role, processes: int = 1, autoscale: str | None = None, log_level: str | None = None) -> int:
    """Run workers until interrupted: `intake` decides submissions, `lifecycle` carries orders on and ends holds,
    `notify` tells buyers and people on duty, `watch` opens tickets for what needs people.

    One role with one process runs right here. Several are children, started again when one dies.

    Parameters
    ----------
    roles
        What to run; intake and lifecycle when none is named.
    processes
        Processes of each role; more than there are partitions would idle.
    autoscale
        As `1..4`: between so many intake workers, as `/autoscale` of `floodway exporter` advises. Where none is up, one
        is started.
    log_level
        DEBUG, INFO, WARNING or ERROR.

    """
    using = settings() if log_level is None else settings(log_level=log_level.upper())
    chosen: tuple[Role, ...] = roles or ("intake", "lifecycle")
    if autoscale is not None:
        return _autoscaled(using, chosen, processes, *_bounds(autoscale))
    if len(chosen) == 1 and processes == 1:
        _run_here(chosen[0], using)
    supervisor = Supervisor(using, dict.fromkeys(chosen, processes), say=people.print)
    people.print(f"Running {', '.join(f'{processes} x {role}' for role in chosen)}. Ctrl-C ends them.")
    return supervisor.run()


def _run_here(role: Role, using: Settings) -> None:
    if role == "watch":
        from agents.watcher import run as run_watch  # noqa: PLC0415 - so does asyncpg

        run_watch(using)
    from agents.worker import run  # noqa: PLC0415 - faust takes a second to import

    if using.ready_file is None and LOG_DIR.is_dir():  # so that the exporter of this directory finds it
        file = LOG_DIR / f"{role}-{os.getpid()}.ready"
        atexit.register(file.unlink, missing_ok=True)
        using = replace(using, ready_file=str(file))
    run(role, using)


def _bounds(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,4})\.\.(\d{1,4})", text, re.ASCII)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise Refused(f"--autoscale {text!r} must be like 1..4: the least, at least 1, and the most.")
    return int(found[1]), int(found[2])


def _autoscaled(using: Settings, chosen: Sequence[Role], processes: int, least: int, most: int) -> int:
    from agents.exporter.settings import load_exporter  # noqa: PLC0415 - with what follows

    if "intake" not in chosen:
        raise Refused("--autoscale is about intake; name it too.")
    exports = load_exporter()
    url = f"http://{exports.host}:{exports.port}"
    roles: dict[str, int] = {**dict.fromkeys(chosen, processes), "intake": least}
    port = exports.port
    if ask(f"{url}/autoscale") is None:
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        roles["exporter"] = 1

    def argv(role: str, number: int) -> Sequence[str]:
        if role != "exporter":
            return worker_argv(role, number)
        main = [sys.executable, "-c", "from infra.cli import main; main()", "exporter"]
        return [*main, "--host", "127.0.0.1", "--port", str(port)]

    supervisor = Supervisor(using, roles, say=people.print, argv=argv)
    follower = Follower(url, "intake", least, most, say=people.print)
    people.print(f"Running {least} to {most} x intake, as {url}/autoscale advises. Ctrl-C ends them.")
    follower.start()
    try:
        return supervisor.run(follower.follow)
    finally:
        follower.stop()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port
