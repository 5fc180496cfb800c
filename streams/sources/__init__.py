"""The mappings of sources that come with Floodway, one file each, and those of a folder of one's own."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

from streams.core.normalise import Normaliser, check_examples
from streams.core.sources import SourceMapping, read_mapping
from streams.errors import SettingsError


def normalisers(folder: str | None = None) -> dict[str, Normaliser]:
    """By source: those that come along, and those in `folder`, which win. Raises `SettingsError` with file and line."""
    found = dict(_shipped())
    if folder is not None:
        if not Path(folder).is_dir():
            raise SettingsError(f"FLOODWAY_SOURCES_DIR={folder} is no folder; make it, or leave the setting out.")
        found |= _folder(Path(folder))
    return {source: Normaliser(mapping) for source, mapping in found.items()}


def shipped() -> list[SourceMapping]:
    """The mappings that come along, checked."""
    return list(_shipped().values())


def load(file: Traversable) -> SourceMapping:
    """One file, checked with its examples. Its name is that of its source. Raises `SettingsError`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: {error}; it must be a readable file in UTF-8.") from error
    mapping = read_mapping(text, file.name)
    if file.name != f"{mapping.source}.toml":
        raise SettingsError(f"{file.name}: it maps {mapping.source!r}, so it must be named {mapping.source}.toml.")
    check_examples(mapping, file.name)
    return mapping


@cache
def _shipped() -> Mapping[str, SourceMapping]:
    """Read once: they do not change while a process lives."""
    return MappingProxyType(_folder(files("streams.sources")))


def _folder(folder: Traversable) -> dict[str, SourceMapping]:
    mappings = [load(file) for file in sorted(folder.iterdir(), key=lambda f: f.name) if file.name.endswith(".toml")]
    return {mapping.source: mapping for mapping in mappings}
