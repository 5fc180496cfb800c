"""Loads named SQL: each query stands under a line `-- name: its_name` in a file beside this module."""

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: ([a-z_]+)\n", re.MULTILINE)


def parse(text: str) -> dict[str, str]:
    """Cut a file's text into its queries by name. Raises `ValueError` for a name used twice or a query without text."""
    parts = _NAME.split(text)[1:]
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"query {name} is named twice; rename one of them")
        if not body.strip():
            raise ValueError(f"query {name} has no text; write it below its name")
        queries[name] = body.strip()
    return queries


def load(file: str) -> dict[str, str]:
    """Read the queries of `sql/<file>`, by name."""
    return parse((files("streams.stores") / "sql" / file).read_text(encoding="utf-8"))
