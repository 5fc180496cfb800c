"""Mutated command lines, of every command that the program has, as it tells of them itself."""

import sys
import types
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin
from uuid import UUID

from loadtest.fuzz import words
from loadtest.fuzz.given import Given, harmless, made_small, tried
from loadtest.fuzz.program import LOOPBACK, program
from loadtest.fuzz.tally import Finding, Tally

TARGET = "cli"
EACH = 20
FAKES_DO = frozenset({"stock load", "stock show", "promo open", "promo close", "promo show", "submit"})
"""Commands that can be run to their end on stores in memory."""
FILES = {
    "stock.csv": b"sku,qty\nTEA,5\nSKU-1,0\n",
    "stock.ndjson": b'{"sku":"TEA","qty":5}\n',
    "orders.ndjson": b'{"submission_id":"S-1","channel":"web","buyer_id":"b","currency":"EUR",'
    b'"lines":[{"sku":"TEA","qty":1,'
    b'"unit_price":5}],"submitted_at":"2026-11-11T00:00:00+08:00"}\n',
    "surge.json": b'{"cpu_us_per_order":{"total":9.5},"orders_per_s":100.0,"workers":1}',
    "notify.toml": (files("streams.notify") / "notify.toml").read_bytes(),
    "watch.toml": (files("streams.watch") / "rules.toml").read_bytes(),
    "empty": b"",
}
_PATHS = (*FILES, "a-directory", "nothing", "a-directory/new", "stock.csv/x", "-", "/dev/null", "/dev/full")


class Argument(NamedTuple):
    """One argument of a command: its names with two dashes, and the type of its value. `by_place` needs no name."""

    names: tuple[str, ...]
    hint: Any
    by_place: bool


@cache
def commands() -> dict[str, list[Argument]]:
    """Every command by its words. A command that is added is fuzzed from then on."""
    app = sys.modules[program().__module__].app
    return dict(_commands(app, ()))


def _commands(app: Any, path: tuple[str, ...]) -> Iterator[tuple[str, list[Argument]]]:
    for name in app:
        below = app[name]
        if name.startswith("-"):
            continue
        if below.default_command is None:
            yield from _commands(below, (*path, name))
            continue
        found = []
        for one in below.assemble_argument_collection(parse_docstring=False):
            names = tuple(said for said in one.names if said.startswith("--"))
            by_place = one.field_info.kind not in {one.field_info.KEYWORD_ONLY}
            found.append(Argument(names, one.hint, by_place))
        yield " ".join((*path, name)), found


def given(choose: Random) -> Given:
    """A command line, good or nearly so, on which something is done."""
    name = choose.choice(list(commands()))
    argv = [*name.split(), *_arguments(choose, commands()[name])]
    for _ in range(choose.choice((0, 1, 1, 2, 4))):
        _mutate(choose, argv)
    argv = [harmless(word) for word in argv]
    files = {name: text for name, text in FILES.items() if any(name in word for word in argv)}
    return Given(tuple(argv), choose.choice(({}, LOOPBACK)), files, with_stores=_on_fakes(argv))


def _on_fakes(argv: list[str]) -> bool:
    return " ".join(argv[:2]) in FAKES_DO or argv[:1] == ["submit"]


def _arguments(choose: Random, arguments: list[Argument]) -> list[str]:
    said: list[str] = []
    for one in arguments:
        if one.by_place:
            said += [_value(choose, one.hint) for _ in range(choose.choice((1, 1, 1, 0, 2)))]
        elif one.names and choose.random() < 0.3:
            value = _value(choose, one.hint)
            if one.hint is bool:
                said.append(choose.choice(one.names))
            else:
                said += [f"{one.names[0]}={value}"] if choose.random() < 0.3 else [one.names[0], value]
    return said


def _value(choose: Random, hint: Any) -> str:
    """Mostly one that fits the type, for what lies behind the parser to be reached."""
    if choose.random() < 0.3:
        return words.word(choose)
    if get_origin(hint) in {Union, types.UnionType}:
        hint = choose.choice([one for one in get_args(hint) if one is not type(None)])
    if get_origin(hint) in {list, tuple}:
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return str(choose.choice(get_args(hint)))
    if hint is int or hint is float:
        return choose.choice(("0", "1", "-1", "1000", "2", words.number(choose)))
    if hint is Path:
        return choose.choice(_PATHS)
    if hint is UUID:
        return str(UUID(int=choose.getrandbits(128)))
    if hint is datetime:
        return choose.choice(("2026-11-11T00:00:00+08:00", "2027-01-01T00:00:00Z"))
    return words.word(choose)


def _mutate(choose: Random, argv: list[str]) -> None:
    at = choose.randrange(len(argv))
    match choose.randrange(7):
        case 0:
            argv[at] = words.bent(choose, argv[at])
        case 1:
            argv[at] = words.word(choose)
        case 2:
            argv.insert(at, choose.choice(("--json", "--help", "--", "--version", words.word(choose))))
        case 3 if len(argv) > 1:
            del argv[at]
        case 4:
            argv.insert(at, argv[at])
        case 5:
            argv[at] = argv[at] + "=" + words.word(choose)
        case _:
            to = choose.randrange(len(argv))
            argv[at], argv[to] = argv[to], argv[at]


def run_batch(seed: int, batch: int) -> Tally:
    """Run some command lines; what does not end as it should is a finding, made small."""
    choose = Random(f"{TARGET} {seed} {batch}")  # noqa: S311 - repeatable, not secret
    tally = Tally()
    for _ in range(EACH):
        add(tally, TARGET, seed, batch, given(choose))
    return tally


def add(tally: Tally, target: str, seed: int, batch: int, one: Given) -> None:
    """Try one input and count it in."""
    ran, wrong = tried(one)
    tally.inputs += 1
    tally.fates[f"exit {ran.code}"] += 1
    if wrong is not None:
        tally.broken[wrong.partition(":")[0]] += 1
        small = made_small(one, wrong)
        wrong = tried(small)[1] or wrong
        tally.findings.append(Finding(target, seed, batch, wrong[:1_000], one.text()[:2_000], small.text()[:1_000]))
