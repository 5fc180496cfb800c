"""The page of sources, made from their mapping files."""

from streams.core.sources import BODIES, FIELDS
from streams.sources import normalisers

_HEAD = f"""# Sources and their codes

Made from `streams/sources/*.toml` by `floodway schema`.

A record on `orders.reported.v1` with the header `floodway-source: NAME` is what that source said, byte for byte; it is
put into the words of [the vocabulary](vocabulary.md) by its mapping, one TOML file. A record without the header is a
report in these words already ([report.v1](schemas/report.v1.json)). Adding a source is adding a file to the folder in
`FLOODWAY_SOURCES_DIR` (a file of the same name there wins over ours):

| key | says |
|---|---|
| `source` | its name, also the file's |
| `body` | {", ".join(f"`{body}`" for body in BODIES)} |
| `numbers_of` | the channel whose order numbers `order_no` are |
| `amounts` | `minor` (cents, fen) or `major` (euros, yuan); with the field `amount` |
| `[fields]` | where each stands: {", ".join(f"`{name}`" for name in FIELDS)}. A path (`order.id`, `lines.0.sku`), or \
`header:NAME`; `a\\|b` takes the first that is there, a list joins its parts |
| `[time]` | `format`: `iso`, `rfc3339`, `epoch_s`, `epoch_ms` or a pattern (`%Y%m%d %H%M`); `zone`: of times that \
carry none, and refused where it is missing |
| `[codes]` | each code, in the source's own letters, with the event it means |
| `[[example]]` | a `body` and the `event` and time (`at`) it must be read as; checked whenever the file is read |

What is wrong in a file is refused with its line, before anything is read with it. A code that is in no mapping is never
guessed: its record waits in quarantine, with one ticket for each source and code. The source's own code, its zone and
the time in UTC are all kept with the step.

A channel's number is one order's. A second order that comes with it is decided like any other and goes without the
number; a ticket (`number_taken`) names both and tells what to do, for only a person can know whether somebody bought
twice or a purchase was submitted twice.

`floodway sources check FILE` reads a mapping as the workers would, examples and all, and needs no servers.

## Times that carry no zone

A job that ran at 00:00 UTC and did not say so was once read as 08:00 in Beijing, and a night's orders were eight hours
late. So a time that carries no zone is read by the zone that its source's mapping declares, and by no other; a mapping
whose times carry none and that declares none is refused, by the workers before they start and by `sources check`:

```
floodway: nightly.toml, line 10: times in the form 'iso' carry no zone; declare it with the field `zone` in [time], as \
zone = "Asia/Shanghai".
```

A source that always sent offsets and stops doing so is not read by a guess either: its records are dead letters
(`naive_time`). `tests/unit/test_time_zones.py` replays that night.
"""


def sources_page() -> str:
    """The page as Markdown: how a mapping is written, then the codes of each source."""
    parts = [_HEAD]
    for source, normaliser in normalisers().items():
        mapping = normaliser.mapping
        zone = str(mapping.zone) if mapping.zone else "carried by each time"
        by_event: dict[str, list[str]] = {}
        for code, event in mapping.codes.items():
            by_event.setdefault(event.value, []).append(f"`{code}`")
        parts += [
            f"## {source}\n",
            f"{mapping.about}.\n",
            f"Times: `{mapping.time_format.replace('|', chr(92) + '|')}`, zone: {zone}.\n",
            "| event | its codes |\n|---|---|",
            *(f"| `{event}` | {' '.join(codes)} |" for event, codes in by_event.items()),
            "",
        ]
    return "\n".join(parts)
