"""Where webhooks may lead: to public addresses only, unless a setting says otherwise.

A name is looked up once, the addresses found are judged, and those same addresses are connected to: a name that leads
elsewhere a moment later (DNS rebinding) gets nobody anywhere. Redirects are not followed.
"""

import asyncio
import socket
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from streams.errors import TargetRefused

FORBIDDEN = "target_forbidden"
_NAT64 = ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet; not loopback, private, link-local or reserved."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found.sixtofour is not None or found.teredo is not None or found in _NAT64:
            return False  # they carry an IPv4 address that somebody else would connect to
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def check_literal(host: str, *, private: bool) -> None:
    """Refuse a host that is written as an address which is not public; a name is judged when it is looked up."""
    try:
        public = is_public(host)
    except ValueError:
        return
    if not (private or public):
        raise forbidden(host, host)


def forbidden(host: str, address: str) -> TargetRefused:
    """The error for an address that may not be connected to."""
    return TargetRefused(
        FORBIDDEN,
        f"{host} leads to {address}, which is no public address; "
        "set FLOODWAY_NOTIFY_PRIVATE_TARGETS=true if webhooks may go there",
    )


class PublicResolver(AbstractResolver):
    """Looks names up, and gives aiohttp only what may be connected to."""

    def __init__(self, *, private: bool) -> None:
        self._private = private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises `OSError` for none, `TargetRefused` for one that is not public."""
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        return [self._judged(host, port, one) for one in found]

    def _judged(self, host: str, port: int, found: tuple[Any, ...]) -> ResolveResult:
        family, _, proto, _, address = found
        if not (self._private or is_public(address[0])):
            raise forbidden(host, address[0])
        return ResolveResult(
            hostname=host, host=address[0], port=port, family=family, proto=proto, flags=socket.AI_NUMERICHOST
        )

    async def close(self) -> None:
        """Nothing to give back."""
