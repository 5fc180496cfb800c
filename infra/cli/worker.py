"""`floodway worker`: the processes that do the work."""

from typing import Literal

from infra.cli.context import people, settings
from infra.workers import Supervisor
from streams.settings import Settings

Role = Literal["intake", "lifecycle", "notify", "watch"]


def worker(*roles: Role, processes: int = 1, log_level: str | None = None) -> int:
    """Run workers until interrupted: `intake` decides submissions, `lifecycle` carries orders on and ends holds,
    `notify` tells buyers and people on duty, `watch` opens tickets for what needs people.

    One role with one process runs right here. Several are children, started again when one dies.

    Parameters
    ----------
    roles
        What to run; intake and lifecycle when none is named.
    processes
        Processes of each role; more than there are partitions would idle.
    log_level
        DEBUG, INFO, WARNING or ERROR.

    """
    using = settings() if log_level is None else settings(log_level=log_level.upper())
    chosen: tuple[Role, ...] = roles or ("intake", "lifecycle")
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

    run(role, using)
