"""The rules, from the file that comes along or one's own."""

from importlib.resources import files
from pathlib import Path

from streams.core.rules import Rule, no_rules, read_rules

BUILT_IN = "rules.toml"


def load_rules(file: str | None) -> dict[str, Rule]:
    """Rules by name. Raises `SettingsError` with file and line."""
    path = files("streams.watch") / BUILT_IN if file is None else Path(file)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise no_rules(str(path)) from error
    return read_rules(text, path.name)
