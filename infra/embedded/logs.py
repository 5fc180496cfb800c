"""The servers' logs: bounded between runs, quoted in errors."""

from pathlib import Path

KEPT_MAX_BYTES = 1_048_576
TAIL_LINES = 12
TAIL_MAX_BYTES = 4_096


def rotate(log: Path) -> None:
    """Move the end of the previous run's log aside, to the same name with `.1`, and begin an empty one."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.with_name(f"{log.name}.1").write_bytes(_last_bytes(log, KEPT_MAX_BYTES))
    log.write_bytes(b"")


def tail(log: Path) -> str:
    """The path of a log and its last lines, for the end of an error message."""
    try:
        lines = _last_bytes(log, TAIL_MAX_BYTES).decode(errors="replace").splitlines()[-TAIL_LINES:]
    except OSError:
        lines = []
    return f"The end of its log, {log}:\n" + ("\n".join(f"  {line}" for line in lines) or "  (empty)")


def _last_bytes(log: Path, limit_bytes: int) -> bytes:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - limit_bytes))
        return file.read(limit_bytes)
