"""`floodway sources`: the mappings by which systems that speak their own codes are read."""

from pathlib import Path
from typing import Any

from infra.cli.context import print_json, print_table
from streams.core.sources import SourceMapping
from streams.errors import Refused, SettingsError
from streams.sources import load, shipped


def check(*files: Path, json: bool = False) -> None:
    """Check mapping files as the workers would, their examples too; exit 2 when one is wrong.

    What is wrong is told with file, line, field and what to write instead. Needs no servers.

    Parameters
    ----------
    files
        Mappings, or folders of them; without any those that come with Floodway.
    json
        Print one JSON object a file.

    """
    found: list[tuple[str, SourceMapping | SettingsError]] = []
    for path in _each(files):
        try:
            found.append((str(path), load(path)))
        except SettingsError as error:
            found.append((str(path), error))
    found += [] if files else [(f"{mapping.source}.toml", mapping) for mapping in shipped()]
    errors = [str(one) for _, one in found if isinstance(one, SettingsError)]
    if json:
        for file, one in found:
            told = {"error": str(one)} if isinstance(one, SettingsError) else _told(one)
            print_json({"file": file, "ok": "error" not in told, **told})
    if errors:
        raise SettingsError("\n".join(errors))
    if json:
        return
    rows = [(file, *_told(one).values()) for file, one in found if isinstance(one, SourceMapping)]
    print_table(["file", "source", "codes", "examples", "times", "zone"], rows)


def _told(mapping: SourceMapping) -> dict[str, Any]:
    return {
        "source": mapping.source,
        "codes": len(mapping.codes),
        "examples": len(mapping.examples),
        "times": mapping.time_format,
        "zone": str(mapping.zone) if mapping.zone else "carried by each time",
    }


def _each(files: tuple[Path, ...]) -> list[Path]:
    found: list[Path] = []
    for file in files:
        if file.is_dir():
            found += sorted(file.glob("*.toml"))
        else:
            found.append(file)
    if files and not found:
        raise Refused(f"There is no mapping in {files[0]}; mappings are named SOURCE.toml.")
    return found
