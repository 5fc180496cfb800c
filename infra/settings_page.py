"""The page of settings, made from the classes that read them: an attribute's docstring is its description."""

import ast
import inspect
from dataclasses import fields
from itertools import pairwise
from types import ModuleType

from agents.exporter import settings as exporter
from agents.exporter.settings import ExporterSettings
from agents.http import settings as http
from agents.http.settings import HttpSettings
from streams import settings
from streams.settings import PREFIX, Settings

_HEAD = """# Settings

Read from the environment once, when a process starts. Made from `streams/settings.py` and `agents/http/settings.py` by
`floodway schema`. Addresses of Redis and Postgres and Kafka's password also come from files: `FLOODWAY_REDIS_URL_FILE`
names one that holds the address, and so on.
"""
_TABLE = """
| variable | default | what it is |
|---|---|---|
"""
_EXPORTER = "\n## The exporter\n\nOf `floodway exporter`, beside those above.\n"
_HTTP = "\n## The HTTP front\n\nOf each process of `floodway http`, beside those above.\n"


def settings_page() -> str:
    """The page as Markdown, one row a setting, in the order of the classes."""
    return (
        _HEAD
        + _table(Settings, settings, PREFIX)
        + _HTTP
        + _table(HttpSettings, http, http.PREFIX)
        + _EXPORTER
        + _table(ExporterSettings, exporter, exporter.PREFIX)
    )


def _table(kind: type[Settings | HttpSettings | ExporterSettings], module: ModuleType, prefix: str) -> str:
    words = _descriptions(module, kind.__name__)
    rows = (
        f"| `{prefix}{field.name.upper()}` | {_default(field.default)} | {words[field.name]} |"
        for field in fields(kind)
    )
    return _TABLE + "\n".join(rows) + "\n"


def _default(value: object) -> str:
    return "none" if value is None else f"`{value}`"


def _descriptions(module: ModuleType, name: str) -> dict[str, str]:
    """Attribute docstrings, which Python itself throws away: each stands right behind its attribute."""
    tree = ast.parse(inspect.getsource(module))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    found = {}
    for before, after in pairwise(body):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            found[before.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return found
