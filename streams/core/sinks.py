"""Who is told of what: targets (webhooks, mail, the log), and routes from events to them, as one TOML file says it.

What the file says wrong is refused with the line it stands on, and how to mend it. See docs/notifications.md. Pure.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streams.core.toml_text import TomlText
from streams.errors import SettingsError
from streams.messages import NAME, NotificationType, TicketEvent

EVENTS = (*(kind.value for kind in NotificationType), *(f"ticket.{event}" for event in TicketEvent))
"""All that anybody can be told of."""
MAX_TARGETS = 32
SECURITIES = ("starttls", "tls", "none")
SECRET_PREFIX = "whsec_"  # noqa: S105 - how secrets of Standard Webhooks begin
LEAST_SECRET_BYTES = 24
ADDRESS = re.compile(r"[^\s@<>,;:\"\\]{1,64}@[^\s@<>,;:\"\\]{1,190}")
_COMMON = ("kind", "timeout", "give_up_after", "concurrency")
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")


class Bounds(NamedTuple):
    """How long one try may take, since when it was due a message is given up, and how many go out side by side.

    Side by side go messages of different orders; those of one order, or ticket, keep their order.
    """

    timeout_s: float
    give_up_s: float
    concurrency: int


class Webhook(NamedTuple):
    """Posted to, signed with each secret: while one is replaced there are two."""

    name: str
    bounds: Bounds
    url: str
    secrets: tuple[bytes, ...]


class Mail(NamedTuple):
    """Sent to by SMTP. `to` are addresses; `{buyer_id}` in one stands for that of the message."""

    name: str
    bounds: Bounds
    host: str
    port: int
    security: str
    sender: str
    to: tuple[str, ...]
    user: str
    password: str


class Logged(NamedTuple):
    """Written to the worker's log."""

    name: str
    bounds: Bounds


Target = Webhook | Mail | Logged


class Route(NamedTuple):
    """Which events of which channels go to which targets. Of tickets only those from `min_level` on."""

    events: tuple[str, ...]
    channels: tuple[str, ...]
    to: tuple[str, ...]
    overtaken: bool
    min_level: int

    def takes(self, event: str, channel: str, *, overtaken: bool, level: int) -> bool:
        """Whether an event goes this way."""
        return (
            any(fnmatchcase(event, pattern) for pattern in self.events)
            and (self.overtaken or not overtaken)
            and level >= self.min_level
            and (not channel or any(fnmatchcase(channel, pattern) for pattern in self.channels))
        )


class Plan(NamedTuple):
    """One checked file. `languages` are those of channels; `language` that of all others, and of tickets."""

    targets: Mapping[str, Target]
    routes: tuple[Route, ...]
    language: str
    languages: Mapping[str, str]
    zone: ZoneInfo

    def targets_of(self, event: str, channel: str, *, overtaken: bool = False, level: int = 0) -> list[str]:
        """To whom an event goes, each once, in the order of the routes."""
        found = [route.to for route in self.routes if route.takes(event, channel, overtaken=overtaken, level=level)]
        return list(dict.fromkeys(name for names in found for name in names))

    def language_of(self, channel: str) -> str:
        """In which language buyers of a channel are told."""
        return self.languages.get(channel, self.language)


def read_plan(text: str, file: str, environ: Mapping[str, str], languages: frozenset[str]) -> Plan:
    """The plan in a file's text; `languages` are those that there are texts in.

    Secrets stand in `environ`, not in the file. Raises `SettingsError`, which names file and line.
    """
    return _Reader(TomlText(text, file), environ, languages).plan()


class _Reader:
    def __init__(self, toml: TomlText, environ: Mapping[str, str], languages: frozenset[str]) -> None:
        self._toml, self._environ, self._languages = toml, environ, languages

    def plan(self) -> Plan:
        toml = self._toml
        toml.known("", toml.found, ("languages", "targets", "route", "zone"))
        targets = {name: self._target(name, table) for name, table in toml.sections("targets").items()}
        if len(targets) > MAX_TARGETS:
            raise toml.error("targets", None, f"{len(targets)} targets are more than {MAX_TARGETS}")
        if not targets:
            raise toml.error("", None, 'there is no target; write [targets.log] with kind = "log"')
        routes = tuple(self._routes(targets))
        if not routes:
            raise toml.error("", None, "nothing goes anywhere; write a [[route]] with events and to")
        chosen = {name: self._language(name, value) for name, value in toml.section("languages").items()}
        default = chosen.pop("default", "en")
        zone = toml.text("", toml.found, "zone", "UTC")
        try:
            return Plan(MappingProxyType(targets), routes, default, MappingProxyType(chosen), ZoneInfo(zone))
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise toml.error("", "zone", f"there is no zone {zone!r}; write it as in Asia/Shanghai") from error

    def _language(self, channel: str, value: object) -> str:
        if not isinstance(value, str) or value not in self._languages:
            known = ", ".join(sorted(self._languages))
            raise self._toml.error("languages", channel, f"there are no texts in {str(value)[:40]!r}; take {known}")
        return value

    def _target(self, name: str, table: Mapping[str, Any]) -> Target:
        section = f"targets.{name}"
        if re.fullmatch(NAME, name) is None or len(name) > 64:
            raise self._toml.error(section, None, f"{name[:64]!r} is no name; use letters, digits and `-`")
        bounds = Bounds(
            self._toml.seconds(section, table, "timeout", "10s"),
            self._toml.seconds(section, table, "give_up_after", "1d"),
            self._toml.whole(section, table, "concurrency", 1, 1, 64),
        )
        if bounds.timeout_s > 60:
            raise self._toml.error(section, "timeout", "one try may take 60s at the most")
        kind = self._toml.text(section, table, "kind")
        if kind == "webhook":
            return self._webhook(section, name, table, bounds)
        if kind == "smtp":
            return self._mail(section, name, table, bounds)
        if kind != "log":
            raise self._toml.error(section, "kind", f"{kind!r} is none of webhook, smtp, log")
        self._toml.known(section, table, _COMMON)
        return Logged(name, bounds)

    def _webhook(self, section: str, name: str, table: Mapping[str, Any], bounds: Bounds) -> Webhook:
        toml = self._toml
        toml.known(section, table, (*_COMMON, "url", "secret_env"))
        url = toml.text(section, table, "url")
        wrong = wrong_with_url(url)
        if wrong is not None:
            raise toml.error(section, "url", wrong)
        secrets = [self._secret(section, variable) for variable in toml.texts(section, table, "secret_env")]
        return Webhook(name, bounds, url, tuple(secrets))

    def _secret(self, section: str, variable: str) -> bytes:
        text = self._variable(section, "secret_env", variable).removeprefix(SECRET_PREFIX)
        try:
            secret = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) < LEAST_SECRET_BYTES:
            raise self._toml.error(
                section,
                "secret_env",
                f"{variable} must hold {SECRET_PREFIX} and at least {LEAST_SECRET_BYTES} bytes in base64; make one "
                "with `openssl rand -base64 32`",
            )
        return secret

    def _variable(self, section: str, key: str, variable: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", variable):
            raise self._toml.error(section, key, f"`{key}` names the environment variable, it is not the secret itself")
        value = self._environ.get(variable, "")
        if not value:
            raise self._toml.error(section, key, f"the environment has no {variable}; set it to the secret")
        return value

    def _mail(self, section: str, name: str, table: Mapping[str, Any], bounds: Bounds) -> Mail:
        toml = self._toml
        toml.known(section, table, (*_COMMON, "host", "port", "security", "from", "to", "user", "password_env"))
        security = toml.text(section, table, "security", "starttls")
        if security not in SECURITIES:
            raise toml.error(section, "security", f"{security!r} is none of {', '.join(SECURITIES)}")
        host = toml.text(section, table, "host")
        if _HOST.fullmatch(host) is None:
            raise toml.error(section, "host", f"{host[:80]!r} is no host; write it as smtp.example.com")
        sender = toml.text(section, table, "from")
        to = toml.texts(section, table, "to")
        for key, address in (("from", sender), *(("to", one.replace("{buyer_id}", "b@example.com")) for one in to)):
            # `{buyer_id}` may be a whole address or the part before the @.
            if not any(ADDRESS.fullmatch(one) for one in (address, address.replace("b@example.com", "b"))):
                raise toml.error(section, key, f"{address[:80]!r} is no address; write it as orders@example.com")
        user = toml.text(section, table, "user", "")
        password = ""
        if user:
            if security == "none":
                raise toml.error(section, "user", "a password must not go out in the clear; set security to tls")
            password = self._variable(section, "password_env", toml.text(section, table, "password_env"))
        default_port = {"starttls": 587, "tls": 465, "none": 25}[security]
        port = toml.whole(section, table, "port", default_port, 1, 65_535)
        return Mail(name, bounds, host, port, security, sender, to, user, password)

    def _routes(self, targets: Mapping[str, Target]) -> Iterator[Route]:
        toml = self._toml
        for number, table in enumerate(toml.listed("route")):
            toml.known("route", table, ("events", "channels", "to", "overtaken", "min_level"), number)
            events = toml.texts("route", table, "events", number=number)
            for event in events:
                if not any(fnmatchcase(known, event) for known in EVENTS):
                    raise self._no_such(number, "events", event, EVENTS)
            to = toml.texts("route", table, "to", number=number)
            for name in to:
                if name not in targets:
                    raise self._no_such(number, "to", name, tuple(targets))
            channels = toml.texts("route", table, "channels", ("*",), number)
            overtaken = toml.flag("route", table, "overtaken", False, number)
            yield Route(events, channels, to, overtaken, toml.whole("route", table, "min_level", 0, 0, 9, number))

    def _no_such(self, number: int, key: str, given: str, known: tuple[str, ...]) -> SettingsError:
        near = get_close_matches(given, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        what = "event" if key == "events" else "target"
        return self._toml.error("route", key, f"there is no {what} {given[:80]!r}; {hint}", number)


def wrong_with_url(url: str) -> str | None:
    """What is wrong with the address of a webhook; None if nothing is."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"it is no address: {error}"
    if parts.scheme not in {"https", "http"} or not parts.hostname or port == 0:
        return "write it as https://shop.example.com/hooks/orders"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "an address of a webhook has no user, password or fragment; the signature tells who we are"
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > 2_000:
        return "write it in ASCII without spaces, 2,000 characters at the most"
    return None
