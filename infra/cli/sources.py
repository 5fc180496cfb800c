"""`floodway sources`: the mappings by which systems that speak their own codes are read, and how late they are."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.cli.context import open_watch, out, parse_duration, print_json, print_table
from streams.core.sources import SourceMapping
from streams.errors import Refused, SettingsError
from streams.sources import load, shipped
from streams.watch.delays import mean_ms, share_ms


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


async def delay(*, since: str = "1d", json: bool = False) -> None:
    """Tell how late each source's reports were, from its own time to the ledger's, as `floodway worker watch` adds up.

    Parameters
    ----------
    since
        Reports of the last 15m, 2h or 3d; up to 30d are kept, by five minutes.
    json
        Print one JSON object for each source.

    """
    try:
        start = datetime.now(UTC) - parse_duration(since)
    except (ValueError, OverflowError) as error:
        raise Refused(f"--since: {error}.") from None
    async with open_watch() as store:
        found = await store.delays_since(start)
    rows = [
        {
            "source": source,
            "reports": sum(reports for reports, _ in by_size.values()),
            "mean_s": round(mean_ms(by_size) / 1_000, 3),
            "p50_s": round(share_ms(by_size, 0.5) / 1_000, 3),
            "p99_s": round(share_ms(by_size, 0.99) / 1_000, 3),
        }
        for source, by_size in sorted(found.items())
    ]
    for row in rows if json else ():
        print_json(row)
    if rows and not json:
        print_table(list(rows[0]), [tuple(row.values()) for row in rows])
    elif not json:
        out.print(f"Nothing was added up in the last {since}; does `floodway worker watch` run?")


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
