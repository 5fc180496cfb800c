"""Links for buyers: good for one order until their day, made by nobody who has not the key."""

from uuid import UUID

import pytest

from agents.http.links import Links
from agents.http.problems import Refusal
from agents.http.settings import HttpSettings
from agents.http.tokens import BUYER_BUCKETS, Right, Tokens, demand
from streams.clock import ManualClock
from streams.core.links import PREFIX, make_link, read_link
from streams.errors import SettingsError

KEY, OTHER = "k" * 32, "o" * 32
ORDER, STRANGER = UUID(int=7 << 70 | 1), UUID(int=7 << 70 | 2)


def test_a_link_is_read_under_its_key_alone() -> None:
    """Every changed character makes it void; so does another key, and an old key of several still knows its own."""
    token = make_link(KEY, ORDER, 2_000_000_000)
    assert read_link([KEY], token) == (ORDER, 2_000_000_000)
    assert read_link([OTHER, KEY], token) == (ORDER, 2_000_000_000)
    assert read_link([OTHER], token) is None
    assert read_link([], token) is None
    for i in range(len(PREFIX), len(token)):
        changed = token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :]
        assert read_link([KEY], changed) is None
    for wrong in ("", PREFIX, token[:-1], token + "A", token.removeprefix(PREFIX), PREFIX + "ä" * 52):
        assert read_link([KEY], wrong) is None


def test_a_buyer_sees_his_order_until_the_day() -> None:
    """The caller has no rights and one order; with tokens set and without; after its day the link is refused."""
    clock = ManualClock()
    for settings in (
        HttpSettings(link_keys=KEY),
        HttpSettings(link_keys=KEY, tokens="a orders:read sha256:" + "0" * 64),
    ):
        link = Links(settings, clock).make(ORDER, base="https://shop.example/")
        address, _, token = link.url.partition("#token=")
        assert address == f"https://shop.example/orders/{ORDER}"
        headers = {b"authorization": b"Bearer " + token.encode()}
        tokens = Tokens.load(settings, clock)
        caller = tokens.caller(headers)
        assert (caller.rights, caller.order) == (frozenset(), ORDER)
        assert int(caller.name.split()[1]) < BUYER_BUCKETS
        demand(caller, Right.READ, str(ORDER))
        for right, order in (
            (Right.READ, str(STRANGER)),
            (Right.READ, None),
            (Right.WRITE, None),
            (Right.REMARK, None),
        ):
            with pytest.raises(Refusal) as refused:
                demand(caller, right, order)
            assert refused.value.problem.status == 403
        clock.advance(91 * 86_400)
        with pytest.raises(Refusal) as gone:
            tokens.caller(headers)
        assert gone.value.problem.status == 401


def test_keys_are_long_and_never_shown() -> None:
    """A short key is refused, the settings' text form hides them all, without one nothing is taken for a link."""
    with pytest.raises(SettingsError, match="LINK_KEYS"):
        HttpSettings(link_keys=f"{KEY},short")
    assert KEY not in repr(HttpSettings(link_keys=KEY))
    token = make_link(KEY, ORDER, 2_000_000_000)
    with pytest.raises(Refusal):
        Tokens.load(HttpSettings()).caller({b"authorization": b"Bearer " + token.encode()})
