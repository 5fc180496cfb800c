"""Webhooks reach nobody inside."""

import socket

import pytest

from streams.core.sinks import Bounds, Webhook
from streams.core.wording import Rendered
from streams.errors import TargetRefused
from streams.notify.addresses import PublicResolver, is_public
from streams.notify.webhook import WebhookSink

INSIDE = (
    *("127.0.0.1", "10.0.0.8", "172.16.1.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"),
    *("::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1"),
    *("2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "ff02::1", "240.0.0.1", "255.255.255.255"),
)
MESSAGE = Rendered("id", "order.paid", "en", "subject", "text", b"{}", "ann")


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_public(address: str) -> None:
    """Loopback, private, link-local (clouds keep credentials there), mapped and translated ones."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "8.8.8.8"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """Ordinary addresses are."""
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f.1", "127.1"])
async def test_a_webhook_to_this_machine_is_refused_unless_allowed(host: str) -> None:
    """However the address is written, nobody who listens here is connected to; with the setting it is tried."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        url = f"http://{host}:{listener.getsockname()[1]}/"
        target = Webhook("shop", Bounds(2.0, 10.0, 1), url, (b"s" * 32,))
        async with WebhookSink(target, private=False) as sink:
            with pytest.raises(TargetRefused, match=r"no public address|not a canonical"):
                await sink.send(MESSAGE, "2026-11-11T00:00:00Z")
        with pytest.raises(TimeoutError):
            listener.accept()


async def test_a_name_is_judged_by_what_it_leads_to() -> None:
    """A name for this machine is looked up and refused; the same addresses are given out where that is allowed."""
    with pytest.raises(TargetRefused, match="localhost leads to"):
        await PublicResolver(private=False).resolve("localhost", 80)
    found = await PublicResolver(private=True).resolve("localhost", 80)
    assert {one["host"] for one in found} <= {"127.0.0.1", "::1"}
