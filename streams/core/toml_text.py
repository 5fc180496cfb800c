"""A TOML file that people write: read with its text, so that what it says wrong is refused with the line it stands on.

A section is named as in its header (`targets.shop`); `number` tells which of several `[[section]]`s. Pure.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from streams.errors import SettingsError

_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


class TomlText:
    """One file: what it holds, and where each part of that stands. Raises `SettingsError` for what is no TOML."""

    def __init__(self, text: str, file: str) -> None:
        try:
            self.found: dict[str, Any] = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # TOMLDecodeError, or a number of thousands of digits
            raise SettingsError(f"{file}: {str(error)[:200]}; it must be TOML.") from error
        self._file = file
        self._lines = text.splitlines()

    def error(self, section: str, key: str | None, what: str, number: int = 0) -> SettingsError:
        """What is wrong, with file and line; of the section as a whole without a key."""
        return SettingsError(f"{self._file}, line {self.line(section, key, number)}: {what}.")

    def section(self, name: str) -> dict[str, Any]:
        """A section at the top; empty if it is not there."""
        section = self.found.get(name, {})
        if not isinstance(section, dict):
            raise self.error("", name, f"write it as a section [{name}]")
        return section

    def sections(self, name: str) -> dict[str, dict[str, Any]]:
        """What stands as `[name.key]`, by key."""
        for key, one in self.section(name).items():
            if not isinstance(one, dict):
                raise self.error(name, key, f"write it as a section [{name}.{key}]")
        return self.section(name)

    def listed(self, name: str) -> list[dict[str, Any]]:
        """What stands as `[[name]]`, in order."""
        found = self.found.get(name, [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self.error(name, None, f"write each {name} as [[{name}]]")
        return found

    def known(self, section: str, found: Iterable[str], names: Iterable[str], number: int = 0) -> None:
        """Refuse keys that nobody would read."""
        for name in found:
            if name not in names:
                raise self.error(section, name, f"`{name}` is unknown here; known are {', '.join(names)}", number)

    def text(
        self, section: str, table: Mapping[str, Any], name: str, default: str | None = None, number: int = 0
    ) -> str:
        """A text of a table; without a default it must be there and say something."""
        value = table.get(name, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.error(section, name if value is not None else None, f"`{name}` must be a text", number)
        return value

    def texts(
        self, section: str, table: Mapping[str, Any], name: str, default: tuple[str, ...] | None = None, number: int = 0
    ) -> tuple[str, ...]:
        """A list of texts, at least one; a single text may stand for itself."""
        value = table.get(name, default)
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or not values or not all(isinstance(v, str) and v for v in values):
            raise self.error(
                section, name if value is not None else None, f"`{name}` must be a text, or a list of texts", number
            )
        return tuple(values)

    def flag(self, section: str, table: Mapping[str, Any], name: str, default: bool, number: int = 0) -> bool:
        """True or false."""
        value = table.get(name, default)
        if not isinstance(value, bool):
            raise self.error(section, name, f"`{name}` is true or false", number)
        return value

    def whole(
        self, section: str, table: Mapping[str, Any], name: str, default: int, least: int, most: int, number: int = 0
    ) -> int:
        """A whole number in bounds."""
        value = table.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.error(section, name, f"`{name}` must be a whole number from {least} to {most}", number)
        return value

    def seconds(
        self, section: str, table: Mapping[str, Any], name: str, default: str | None = None, number: int = 0
    ) -> float:
        """A time such as 10s, 5m, 2h or 1d, in seconds; more than none."""
        value = table.get(name, default)
        seconds = None if not isinstance(value, str) else seconds_of(value)
        if not seconds:
            key = name if value is not None else None
            raise self.error(section, key, f"`{name}` must be a time such as 10s, 5m, 2h or 1d", number)
        return seconds

    def line(self, section: str, key: str | None, number: int = 0) -> int:
        """Where `key` stands in the section, or the section if not at all; lines count from 1."""
        inside, at, seen = section == "", 1, -1
        for count, line in enumerate(self._lines, 1):
            header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+\s*(?:#.*)?$", line)
            if header:
                name = header[1].replace('"', "")
                seen += name == section
                inside = name == section and (not line.lstrip().startswith("[[") or seen == number)
                at = count if inside else at
            elif inside and key is not None and _key(line) == key:
                return count
        return at


def seconds_of(text: str) -> float | None:
    """The seconds of `10s`, `1.5h` and the like; None for other texts."""
    match = _DURATION.fullmatch(text)
    return None if match is None else float(match[1]) * _SECONDS[match[2]]


def _key(line: str) -> str | None:
    """The key that a line of TOML begins with, without quotes; None for others."""
    match = re.match(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*=""", line)
    return None if match is None else next(group for group in match.groups() if group is not None)
