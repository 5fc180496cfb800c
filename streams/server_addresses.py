"""Whether the address of a server can be one, told before anybody connects: a client would fail in words of its own in
the middle of something, or take a mistyped part for nothing. Each check returns what is wrong, None if nothing is.
"""

import os
import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

MAX_PORT = 65_535
REDIS_OPTIONS = frozenset(
    {
        *("db", "username", "password", "client_name", "health_check_interval"),
        *("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"),
    }
)
"""What a URL of Redis may set. The client would take much more from it, and break, or answer in other types."""
_FILES = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})
_FILES_OF_POSTGRES = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})
_CERT_REQS = ("none", "optional", "required")
_HOST = re.compile(r"[^\s/?#@\[\]:,%\\]+")


def wrong_with_brokers(text: str) -> str | None:
    """Of `host:port,host:port`."""
    # None of these sentences repeats what was given: it may have a password in the wrong place.
    for address in text.split(","):
        wrong = _wrong_with_host_and_port(address.strip())
        if wrong is not None:
            return f"{wrong}; write host:port, several with commas between them"
    return None


def wrong_with_redis(text: str) -> str | None:
    """Of `redis://user:password@host:port/db?options`, with `rediss` for TLS, or `unix://` and a path."""
    parts = _split(text, ("redis", "rediss", "unix"))
    if isinstance(parts, str):
        return f"{parts}; write redis://host:6379/0"
    if parts.scheme == "unix":
        if not parts.path:
            return "it has no path; write unix:///path/of/the/socket"
    elif not re.fullmatch(r"/?|/[0-9]{1,9}", parts.path):
        return "what stands behind its last slash is no number of a database; write redis://host:6379/0"
    elif parts.netloc and (wrong := _wrong_with_host_and_port(parts.netloc.rpartition("@")[2])):
        return f"{wrong}; write redis://host:6379/0"
    return next(_wrong_options(parts), None)


def wrong_with_postgres(text: str) -> str | None:
    """Of `postgresql://user:password@host:port,host:port/database?options`; hosts may stand in the options instead."""
    parts = _split(text, ("postgresql", "postgres"))
    if isinstance(parts, str):
        return f"{parts}; write postgresql://user@host:5432/database"
    hosts = parts.netloc.rpartition("@")[2]
    for address in hosts.split(",") if hosts else ():
        if unquote(address).startswith("/"):  # a directory of sockets
            continue
        wrong = _wrong_with_host_and_port(address)
        if wrong is not None:
            return f"{wrong}; write postgresql://user@host:5432/database"
    return next(_missing_files(parts, _FILES_OF_POSTGRES), None)


def _split(text: str, schemes: tuple[str, ...]) -> SplitResult | str:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        return f"it is no URL ({error})"
    if parts.scheme not in schemes:
        return f"it does not begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    return parts


def _wrong_with_host_and_port(address: str) -> str | None:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", address)
    if bracketed is not None:
        host, port = bracketed[1], bracketed[2]
        try:
            IPv6Address(host)
        except AddressValueError:
            return "what stands between its brackets is no IPv6 address"
    else:
        host, colon, rest = address.partition(":")
        port = rest if colon else None
        if not _is_host(host):
            return "it has no host that could be one"
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) <= MAX_PORT):
        return f"its port is no number from 1 to {MAX_PORT}"
    return None


def _is_host(text: str) -> bool:
    try:
        return _HOST.fullmatch(text) is not None and bool(text.encode("idna"))
    except UnicodeError:  # a label that is empty or longer than 63
        return False


def _wrong_options(parts: SplitResult) -> Iterator[str]:
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in REDIS_OPTIONS:
            yield f"it has an option that is none of {', '.join(sorted(REDIS_OPTIONS))}"
        if name in {"db", "health_check_interval"} and not re.fullmatch(r"[0-9]{1,9}", value):
            yield f"its option {name} is no number"
        if name == "ssl_cert_reqs" and value not in _CERT_REQS:
            yield f"its option {name} is none of {', '.join(_CERT_REQS)}"
    yield from _missing_files(parts, _FILES)


def _missing_files(parts: SplitResult, names: frozenset[str]) -> Iterator[str]:
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in names and ("\0" in value or not os.access(value, os.R_OK)):
            yield f"there is no file to read where its option {name} says"
