"""`floodway exporter`: lag, stores and stock as metrics, and how many workers there should be."""

import atexit
from pathlib import Path
from typing import Any

from infra.cli.context import people, settings
from infra.workers import EXPORTER_FILE, LOG_DIR


def exporter(*, host: str | None = None, port: int | None = None, log_level: str | None = None) -> None:
    """Serve `/metrics`, `/autoscale` and the page `/ops` of the whole installation, until interrupted: docs/metrics.md.

    It looks at Kafka, Redis and Postgres itself, and needs no worker alive. One is enough.

    Parameters
    ----------
    host
        Where to listen; 127.0.0.1 by default.
    port
        Where to listen; 9308 by default, or the next that is free.
    log_level
        DEBUG, INFO, WARNING or ERROR.

    """
    from agents.exporter.serve import run  # noqa: PLC0415 - aiokafka and asyncpg take a moment to import
    from agents.exporter.settings import load_exporter  # noqa: PLC0415

    using = settings() if log_level is None else settings(log_level=log_level.upper())
    chosen: dict[str, Any] = {"host": host, "port": port}
    exports = load_exporter(**{name: value for name, value in chosen.items() if value is not None})

    def say(url: str) -> None:
        if LOG_DIR.is_dir():
            file = LOG_DIR / EXPORTER_FILE
            file.write_text(url, encoding="utf-8")
            atexit.register(file.unlink, missing_ok=True)
        people.print(f"Exporting on {url}: /ops for people, /metrics, /autoscale, /livez, /readyz. Ctrl-C ends it.")

    run(using, exports, Path(LOG_DIR), say)
