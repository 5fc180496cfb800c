"""The page of settings, made from the class that reads them: an attribute's docstring is its description."""

import ast
import inspect
from dataclasses import fields
from itertools import pairwise

from streams import settings
from streams.settings import PREFIX, Settings

_HEAD = """# Settings

Read from the environment once, when a process starts. Made from `streams/settings.py` by `floodway schema`.

| variable | default | what it is |
|---|---|---|
"""


def settings_page() -> str:
    """The page as Markdown, one row a setting, in the order of the class."""
    words = _descriptions()
    rows = (
        f"| `{PREFIX}{field.name.upper()}` | {_default(field.default)} | {words[field.name]} |"
        for field in fields(Settings)
    )
    return _HEAD + "\n".join(rows) + "\n"


def _default(value: object) -> str:
    return "none" if value is None else f"`{value}`"


def _descriptions() -> dict[str, str]:
    """Attribute docstrings, which Python itself throws away: each stands right behind its attribute."""
    module = ast.parse(inspect.getsource(settings))
    body = next(node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == Settings.__name__)
    found = {}
    for before, after in pairwise(body):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            found[before.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return found
