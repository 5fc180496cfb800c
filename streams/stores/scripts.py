"""Lua scripts by name: reads them with what they include, checks their headers, and calls them by digest.

A script is one file `lua/<verb>.lua`: `#!lua`, then its header, comment lines of a fixed form:

    -- <verb>: what it does in one sentence.
    -- KEYS[1] meta: what it holds            (numbered from 1; the name is the key's without its prefix)
    -- ARGV[1] epoch: what it is              (numbered from 1)
    -- RETURNS: what comes back
    -- CODES: NAME=value …                    (or `none`)

A line `-- INCLUDE: part` is replaced by `lua/include/part.lua`, so that nothing is written twice; parts may include.
"""

import re
from collections.abc import Awaitable, Callable
from functools import cache
from hashlib import sha1
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

_HEADER = re.compile(r"-- (?:(KEYS|ARGV)\[(\d+)\] ([\w:]+)|(RETURNS|CODES|\w+)): (\S.*)")
_INCLUDE = re.compile(r"^-- INCLUDE: (\w+)\n", re.MULTILINE)


class Script(NamedTuple):
    """One script, ready to be called. `keys` and `args` are names from its header, in order."""

    name: str
    summary: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    codes: dict[str, str]
    source: str
    digest: str


def names() -> list[str]:
    """All scripts there are."""
    return sorted(entry.name.removesuffix(".lua") for entry in _folder().iterdir() if entry.name.endswith(".lua"))


@cache
def load(name: str) -> Script:
    """Read a script and what it includes; raises `ValueError` when its header breaks the form."""
    text = (_folder() / f"{name}.lua").read_text(encoding="utf-8")
    source = _included(text)
    lines = text.splitlines()
    if lines[0] != "#!lua":
        raise ValueError(f"{name}.lua must begin with #!lua, so that a full server refuses it before it has begun.")
    header = [line for line in lines[1 : lines.index("")] if line]
    return parsed(name, header, source)


async def call(client: Redis, script: Script, keys: list[bytes], args: list[bytes | str | int]) -> Any:
    """Run a script by its digest. A server that does not have it (started anew, flushed) is given it first."""
    execute: Callable[..., Awaitable[Any]] = client.execute_command
    try:
        return await execute("EVALSHA", script.digest, len(keys), *keys, *args)
    except NoScriptError:
        await execute("SCRIPT LOAD", script.source)
        return await execute("EVALSHA", script.digest, len(keys), *keys, *args)


def _included(text: str) -> str:
    return _INCLUDE.sub(
        lambda match: _included((_folder() / "include" / f"{match[1]}.lua").read_text(encoding="utf-8")), text
    )


def _folder() -> Traversable:
    return files("streams.stores") / "lua"


def parsed(name: str, header: list[str], source: str) -> Script:
    """The script that a header describes; raises `ValueError` when the header breaks the form."""
    numbered: dict[str, list[str]] = {"KEYS": [], "ARGV": []}
    texts: dict[str, list[str]] = {}
    for line in header:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise ValueError(f"{name}.lua: {line!r} is no header line; see streams/stores/scripts.py.")
        kind, number, label, word, text = match.groups()
        if kind is None:
            texts.setdefault(word, []).append(text)
        else:
            numbered[kind].append(label)
            if int(number) != len(numbered[kind]):
                raise ValueError(f"{name}.lua: {kind}[{number}] stands where {kind}[{len(numbered[kind])}] should.")
    if set(texts) != {name, "RETURNS", "CODES"}:
        raise ValueError(f"{name}.lua: its header must have {name}, RETURNS and CODES, and has {sorted(texts)}.")
    codes = dict(pair.split("=", 1) for pair in " ".join(texts["CODES"]).split() if pair != "none")
    return Script(
        name=name,
        summary=" ".join(texts[name]),
        keys=tuple(numbered["KEYS"]),
        args=tuple(numbered["ARGV"]),
        codes=codes,
        source=source,
        digest=sha1(source.encode(), usedforsecurity=False).hexdigest(),
    )
