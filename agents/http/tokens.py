"""Who may do what: API tokens, kept as hashes, with scopes and a rate each.

A line is `NAME SCOPES HASH [rate=N]`, as in

    shop orders:write,orders:read sha256:9f86d081884c7d65… rate=5000

Tokens are 256 random bits (`floodway token NAME` makes one), so a plain hash keeps them as safe as a slow one would.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from secrets import token_urlsafe
from uuid import UUID

from agents.http.links import IS_LINK, Links
from agents.http.problems import Refusal
from agents.http.settings import PREFIX, HttpSettings
from streams.clock import Clock, SystemClock
from streams.core.names import is_sku
from streams.core.remarks import MAX_NAME, is_author
from streams.errors import SettingsError

MAX_TOKENS = 1_000


class Right(StrEnum):
    """What a token may be good for."""

    WRITE = "orders:write"
    READ = "orders:read"
    REMARK = "orders:remark"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a token's name, rights and rate (orders and reads a second).

    A buyer with a link has no rights, but `order`: what is open to buyers is open to him for that one.
    """

    name: str
    rights: frozenset[Right]
    rate_per_s: float
    order: UUID | None = None


BUYER_RATE_PER_S = 20.0
BUYER_BUCKETS = 4_096

LOCAL = "local"
"""Who calls where there are no tokens: somebody on this machine, who may do everything."""


def make_token() -> tuple[str, str]:
    """A new token, and its hash as it stands in a line."""
    token = f"fw_{token_urlsafe(32)}"
    return token, f"sha256:{_hash(token.encode()).hex()}"


class Tokens:
    """All that are known. Make it with `load`."""

    def __init__(self, known: Sequence[tuple[bytes, Caller]], links: Links, *, local: Caller | None) -> None:
        self._known, self._links, self._local = known, links, local

    @classmethod
    def load(cls, settings: HttpSettings, clock: Clock | None = None) -> "Tokens":
        """Those of the settings. Raises `SettingsError` for a bad line, and for none where others could call."""
        lines = [*_lines(settings)]
        known = [_parsed(where, line, settings.rate_per_s) for where, line in lines]
        names = [caller.name for _, caller in known]
        if len(set(names)) != len(names) or len(names) > MAX_TOKENS:
            raise SettingsError(f"Of at most {MAX_TOKENS} tokens each needs a name of its own.")
        if not known and not settings.is_loopback:
            raise SettingsError(
                f"{PREFIX}HOST={settings.host} lets others in, and there are no tokens; make one with `floodway token` "
                f"and set {PREFIX}TOKENS_FILE, or listen on 127.0.0.1."
            )
        links = Links(settings, SystemClock() if clock is None else clock)
        return cls(known, links, local=None if known else Caller(LOCAL, frozenset(Right), settings.rate_per_s))

    def caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Who sent these headers. Raises `Refusal`."""
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if token.startswith(IS_LINK) and scheme.lower() == b"bearer":  # on this machine too: it shows what buyers see
            return self._buyer(token.strip())
        if self._local is not None:
            return self._local
        if scheme.lower() != b"bearer" or not token:
            raise _who("no_token", "send Authorization: Bearer followed by a token")
        given, found = _hash(token.strip()), None
        for known, caller in self._known:  # all of them, whatever is found: the time taken tells nothing
            if hmac.compare_digest(known, given):
                found = caller
        if found is None:
            raise _who("wrong_token", "check the token, or ask for another")
        return found

    def _buyer(self, token: bytes) -> Caller:
        order = self._links.order_of(token)
        if order is None:
            raise _who("wrong_token", "the link is not or no longer good; ask the shop for another")
        # All buyers share so many buckets: one that asks without end meets its own limit, and memory has one too.
        return Caller(f"buyer {order.int % BUYER_BUCKETS}", frozenset(), BUYER_RATE_PER_S, order)


def demand(caller: Caller, right: Right, order: str | None = None) -> None:
    """Raise `Refusal` when the caller has not this right; `order` is what is asked for where buyers may, too."""
    if right not in caller.rights and (order is None or caller.order is None or order != str(caller.order)):
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "no_right",
            f"{caller.name} has no {right.value}",
            fix=f"use a token with the scope {right.value}",
            headers={b"www-authenticate": b'Bearer error="insufficient_scope", scope="%s"' % right.value.encode()},
        )


def _lines(settings: HttpSettings) -> list[tuple[str, str]]:
    found = []
    if settings.tokens_file is not None:
        try:
            text = Path(settings.tokens_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{PREFIX}TOKENS_FILE={settings.tokens_file} cannot be read: {error}.") from error
        found += [(f"{settings.tokens_file}, line {n}", line) for n, line in enumerate(text.splitlines(), start=1)]
    if settings.tokens is not None:
        found += [(f"{PREFIX}TOKENS, token {n}", line) for n, line in enumerate(settings.tokens.split(";"), start=1)]
    return [(where, line) for where, line in found if line.strip() and not line.lstrip().startswith("#")]


def _parsed(where: str, line: str, rate_per_s: float) -> tuple[bytes, Caller]:
    """Hash and caller of a line. What is wrong is told without the line itself: it may hold a token by mistake."""
    parts = line.split()
    if not 3 <= len(parts) <= 4 or not is_sku(parts[0]):
        raise SettingsError(f"{where}: write NAME SCOPES sha256:HASH, and rate=N where it has one.")
    try:
        rights = frozenset(Right(name) for name in parts[1].split(","))
    except ValueError:
        raise SettingsError(f"{where}: scopes are {', '.join(Right)}, separated by a comma.") from None
    if Right.REMARK in rights and not is_author(parts[0]):
        raise SettingsError(
            f"{where}: who makes remarks needs a name of up to {MAX_NAME} letters, digits and . _ ~ @ -."
        )
    kind, _, digits = parts[2].partition(":")
    try:
        known = bytes.fromhex(digits)
    except ValueError:
        known = b""
    if kind != "sha256" or len(known) != 32:
        raise SettingsError(f"{where}: the hash is sha256: and 64 hex digits, as `floodway token` prints it.")
    if len(parts) == 4:
        name, _, text = parts[3].partition("=")
        if name != "rate" or not text.isdigit() or not 0 < int(text) < 10**9:
            raise SettingsError(f"{where}: behind the hash only rate=N may stand, orders a second.")
        rate_per_s = float(text)
    return known, Caller(parts[0], rights, rate_per_s)


def _who(kind: str, fix: str) -> Refusal:
    detail = "the request has no token" if kind == "no_token" else "no such token is known here"
    return Refusal(HTTPStatus.UNAUTHORIZED, kind, detail, fix=fix, headers={b"www-authenticate": b"Bearer"})


def _hash(token: bytes) -> bytes:
    return sha256(token).digest()
