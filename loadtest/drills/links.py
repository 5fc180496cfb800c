"""Proxies between workers and servers, seen from the drill: settings that lead through them, orders to misbehave."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from loadtest.drills.proxy import HOST, Mode
from loadtest.helpers import Helper, helper
from streams.errors import FloodwayError
from streams.settings import Settings
from streams.stores.ledger_hosts import single_hosts

LINKS = ("kafka", "redis", "postgres")


class Links:
    """Running proxies, one link for each kind of server, open at first."""

    def __init__(self, proxy: Helper, ports: Mapping[str, Mapping[str, int]]) -> None:
        self._proxy = proxy
        self._ports = ports

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, settings: Settings) -> "AsyncIterator[Links]":
        """Proxies to the servers of these settings, until the end of the block."""
        async with helper("drills.proxy", settings, json.dumps(servers(settings))) as proxy:
            said = await proxy.next()
            if said is None:
                raise FloodwayError("The proxy ended before it listened; what it wrote is above.")
            yield cls(proxy, said["ports"])

    def lead(self, settings: Settings) -> Settings:
        """The settings with our addresses in place of the servers'."""
        kafka = ",".join(f"{HOST}:{port}" for port in self._ports["kafka"].values())
        return replace(
            settings,
            kafka_bootstrap=kafka,
            redis_url=_at_ports(settings.redis_url, self._ports["redis"]),
            postgres_dsn=_at_ports(settings.postgres_dsn, self._ports["postgres"]),
        )

    async def set(self, link: str, mode: Mode = Mode.OPEN, delay_s: float = 0.0) -> None:
        """Make a link behave so, and return when it does."""
        assert link in LINKS, link
        self._proxy.tell(json.dumps({"link": link, "mode": mode, "delay_s": delay_s}))
        if await self._proxy.next() is None:
            raise FloodwayError("The proxy has ended; what it wrote is above.")


def servers(settings: Settings) -> dict[str, dict[str, int]]:
    """The ports of each link's servers, by the number of the node. All must listen on the loopback interface."""
    brokers = settings.kafka_bootstrap.split(",")
    found = {"kafka": brokers, "redis": [settings.redis_url], "postgres": single_hosts(settings.postgres_dsn)}
    return {
        link: {str(node): _port(address) for node, address in enumerate(some, start=1)} for link, some in found.items()
    }


def _port(address: str) -> int:
    parts = urlsplit(address if "://" in address else f"//{address}")
    assert parts.hostname == HOST, f"{address} is not on this machine"
    assert parts.port is not None, f"{address} has no port"
    return parts.port


def _at_ports(url: str, ports: Mapping[str, int]) -> str:
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    hosts = ",".join(f"{HOST}:{port}" for port in ports.values())
    return urlunsplit(parts._replace(netloc=f"{user}{at}{hosts}"))
