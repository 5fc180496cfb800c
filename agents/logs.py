"""Logs of processes: lines for people on a terminal, one JSON object a line for machines everywhere else.

Fields of a log call's `extra` (trace, order, topic, partition, offset, …) are fields of the object.
"""

import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

from streams.settings import Settings

OURS = ("streams", "agents")
ABOUT = ("trace", "order", "topic", "partition", "offset", "outcome", "reason", "stage", "role", "url")
"""What a line may be about, in this order; nothing else gets in from `extra`."""
_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonFormatter(logging.Formatter):
    """One line of JSON: at, level, logger, message, role, pid, what it is about, and the error's trace."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._fixed = {"role": role, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        """See the base."""
        found: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._fixed,
            **about(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            found["error"] = "".join(traceback.format_exception(*record.exc_info))
        return orjson.dumps(found, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """A line for people, with what it is about behind it."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base's name
        """See the base."""
        fields = " ".join(f"{name}={value}" for name, value in about(record).items())
        return f"{super().formatMessage(record)}{f'  {fields}' if fields else ''}"


def about(record: logging.LogRecord) -> dict[str, Any]:
    """What a line is about."""
    given = record.__dict__
    return {name: given[name] for name in ABOUT if given.get(name) is not None}


def handler(settings: Settings, role: str) -> logging.Handler:
    """To the error stream, in the form that the settings ask for."""
    made = logging.StreamHandler(sys.stderr)
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    made.setFormatter(JsonFormatter(role) if as_json else TextFormatter())
    return made


def set_up(settings: Settings, role: str) -> None:
    """Have all logs of this process go there: ours from the level that is set, those of libraries from WARNING."""
    logging.basicConfig(handlers=[handler(settings, role)], level="WARNING", force=True)
    for ours in OURS:
        logging.getLogger(ours).setLevel(settings.log_level)
