"""Mappings of sources: those that come along are right by their examples, and a wrong one is refused with its line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import sources
from streams.core.decode import Undecodable
from streams.core.normalise import Normaliser, Ref, Said, UnknownCode, check_examples
from streams.core.sources import read_mapping
from streams.errors import SettingsError
from streams.messages import ReportType
from streams.sources import normalisers

OURS = normalisers()
GOOD = """source = "shop"
body = "json"
numbers_of = "shop"

[fields]
event_id = ["no", "state"]
order_no = "no"
code = "state"
time = "at"

[time]
format = "iso"
zone = "Asia/Shanghai"

[codes]
PAID = "payment.succeeded"
"已付款" = "payment.succeeded"
"""


def said(normaliser: Normaliser, body: str, *headers: tuple[str, bytes]) -> Said:
    """What a message says."""
    found = normaliser.read(body.encode(), headers)
    assert isinstance(found, Said), found
    return found


def test_every_promised_source_is_there() -> None:
    """Channels, warehouse, two carriers, two payment systems, EDI; each has examples, and each was read as it says."""
    assert {"tmall", "jd", "pdd", "douyin", "shopify", "wms", "sf", "kdniao", "alipay", "wechatpay", "x12"} <= set(OURS)
    for normaliser in OURS.values():
        assert normaliser.mapping.examples, normaliser.mapping.source


def test_two_words_for_one_state_are_one_event() -> None:
    """已付款, 支付成功 and the trade's own code all mean: paid; the code is kept as it came."""
    body = '{{"tid": "1", "status": "{}", "modified": "2026-11-11 00:00:00"}}'
    found = [said(OURS["tmall"], body.format(code)) for code in ("已付款", "支付成功", "WAIT_SELLER_SEND_GOODS")]
    assert {one.type for one in found} == {ReportType.PAYMENT_SUCCEEDED}
    assert [one.raw_code for one in found] == ["已付款", "支付成功", "WAIT_SELLER_SEND_GOODS"]


def test_the_night_orders_are_not_late() -> None:
    """Midnight to two in Beijing is the afternoon before in UTC, whatever clock the source keeps, and says so."""
    beijing, utc = read_mapping(GOOD, "shop.toml"), read_mapping(GOOD.replace("Asia/Shanghai", "UTC"), "shop.toml")
    body = '{{"no": "1", "state": "PAID", "at": "{}"}}'
    for minute in range(0, 120, 10):
        true = datetime(2026, 11, 10, 16, tzinfo=UTC) + timedelta(minutes=minute)
        for mapping, local in ((beijing, true + timedelta(hours=8)), (utc, true)):
            found = said(Normaliser(mapping), body.format(local.strftime("%Y-%m-%d %H:%M:%S")))
            assert found.occurred_at == true
            assert found.zone == str(mapping.zone)
        found = said(Normaliser(utc), body.format((true + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M:%S+08:00")))
        assert (found.occurred_at, found.zone) == (true, "UTC+0800")


def test_without_its_zone_the_mapping_is_refused() -> None:
    """The line that declared the zone is gone: nothing is read by a guess, the error says what to write, and where."""
    for source in OURS:
        file = Path(sources.__path__[0]) / f"{source}.toml"
        text = file.read_text(encoding="utf-8")
        if "zone = " in text:
            without = "\n".join(line for line in text.splitlines() if not line.startswith("zone ="))
            with pytest.raises(SettingsError, match=rf"{source}\.toml, line \d+: times .* carry no zone; declare it"):
                read_mapping(without, file.name)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"payment.succeeded"\n"', '"payment.suceeded"\n"', "line 16: 'payment.suceeded' is no event; did you mean"),
        ('zone = "Asia/Shanghai"', 'zone = "Asia/Shangai"', "line 13: there is no zone 'Asia/Shangai'"),
        ('zone = "Asia/Shanghai"', "", "line 12: times in the form 'iso' carry no zone"),
        ('format = "iso"', 'format = "epoch_s"', "line 13: times in the form 'epoch_s' carry their zone"),
        ('format = "iso"', 'format = "ISO"', "line 12: 'ISO' is none of"),
        ('code = "state"', 'coed = "state"', "line 8: `coed` is unknown here"),
        ('code = "state"\n', "", "line 5: `code` is missing"),
        ('order_no = "no"\n', "", "line 5: one of order_id, order_no, shipment"),
        ('numbers_of = "shop"\n', "", "line 6: say whose number it is"),
        ('code = "state"', "code = 7", "line 8: give a path"),
        ('body = "json"', 'body = "xml"', "line 2: 'xml' is none of"),
        ('source = "shop"', 'source = "my shop"', "line 1: 'my shop' is no name"),
        ('time = "at"', 'time = "at"\namount = "sum"', "line 10: say in which unit"),
        ("[codes]\nPAID", "[codes]\nPAID = 1\nPAID", "line 17"),
        ("[fields]", "[fields", "line 5"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_refused_with_its_line(old: str, new: str, complaint: str) -> None:
    """Each mistake names the file, the line and what to write instead."""
    assert old in GOOD
    with pytest.raises(SettingsError) as error:
        read_mapping(GOOD.replace(old, new, 1), "shop.toml")
    assert "shop.toml" in str(error.value)
    assert complaint in str(error.value)


def test_an_example_that_is_read_otherwise_is_refused() -> None:
    """A mapping that does not do what its author meant does not get as far as an order."""
    example = '\n[[example]]\nbody = \'{"no": "1", "state": "PAID", "at": "2026-11-11 00:00:00"}\'\n'
    example += 'event = "payment.succeeded"\nat = 2026-11-11T00:00:00Z\n'
    mapping = read_mapping(GOOD + example, "shop.toml")
    with pytest.raises(SettingsError, match=r"shop.toml, line 20: the example says .* it is read as"):
        check_examples(mapping, "shop.toml")


def test_a_source_is_added_by_a_file(tmp_path: Path) -> None:
    """A file in one's own folder is a source; one with the name of ours wins; the wrong name is refused."""
    (tmp_path / "shop.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "sf.toml").write_text(GOOD.replace('"shop"', '"sf"'), encoding="utf-8")
    found = normalisers(str(tmp_path))
    assert set(found) == {*OURS, "shop"}
    assert "PAID" in found["sf"].mapping.codes
    (tmp_path / "other.toml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"must be named shop\.toml"):
        normalisers(str(tmp_path))
    with pytest.raises(SettingsError, match="is no folder"):
        normalisers(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"at": "2026-11-11"}, None),
        ({"at": "11.11.2026"}, "invalid_field"),
        ({"at": "1026-11-11 00:00:00"}, "invalid_field"),
        ({"at": None}, "missing_field"),
        ({"no": None}, "missing_field"),
        ({"no": "x" * 65}, "invalid_field"),
    ],
)
def test_what_cannot_be_read_has_a_reason(change: dict[str, str | None], reason: str | None) -> None:
    """A wrong time, a time out of all years, a missing number: each is refused with the field it stands in."""
    fields = {"no": '"1"', "state": '"PAID"', "at": '"2026-11-11 00:00:00"'}
    fields |= {name: "null" if value is None else f'"{value}"' for name, value in change.items()}
    body = "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"
    found = Normaliser(read_mapping(GOOD, "shop.toml")).read(body.encode())
    assert (found.reason if isinstance(found, Undecodable) else None) == reason


def test_a_time_without_offset_is_refused_where_none_was_promised() -> None:
    """A source that always sent offsets and stops doing so is not read by a guess."""
    headers = [("X-Shopify-Topic", b"orders/paid"), ("X-Shopify-Webhook-Id", b"w-1")]
    found = OURS["shopify"].read(b'{"id": 1, "updated_at": "2026-11-11T00:00:00"}', headers)
    assert isinstance(found, Undecodable)
    assert found.reason == "naive_time"


def test_an_unknown_code_is_told_not_guessed() -> None:
    """Neither a new code nor one that looks like a known one leads to an event."""
    for code in ("TRADE_PARTED", "wait_buyer_pay", "已 付款"):
        body = f'{{"tid": "1", "status": "{code}", "modified": "2026-11-11 00:00:00"}}'
        said = OURS["tmall"].read(body.encode())
        assert isinstance(said, UnknownCode)
        assert said[:2] == ("tmall", code)


def test_orders_are_found_by_what_the_source_knows() -> None:
    """A channel knows its number, the warehouse our id, a carrier the parcel, a drop shipper what its 856 refers to."""
    examples = {name: normaliser.mapping.examples[-1] for name, normaliser in OURS.items()}
    found = {
        name: said(OURS[name], one.body, *((k, v.encode()) for k, v in one.headers.items()))
        for name, one in examples.items()
    }
    assert found["tmall"].ref == Ref("order_no", "tmall", "3412345678901234567")
    assert found["wms"].ref == Ref("order_id", "", "0199c5a1-7000-7000-8000-000000000001")
    assert found["sf"].ref == Ref("shipment", "", "SF1400123456789")
    assert (found["x12"].ref, found["x12"].shipment) == (Ref("order_no", "edi", "PO-1042"), "1Z999AA10123456784")
    assert (found["wechatpay"].amount, found["alipay"].amount) == (500, 500)


def test_an_event_id_that_is_no_key_is_digested() -> None:
    """Chinese or long parts make a key of visible characters, the same for the same parts, another for others."""
    body = '{{"no": "{}", "state": "已付款", "at": "2026-11-11 00:00:00"}}'
    normaliser = Normaliser(read_mapping(GOOD, "shop.toml"))
    ids = [said(normaliser, body.format(number)).event_id for number in ("1", "1", "2")]
    assert ids[0] == ids[1] != ids[2]
    assert all(one.isascii() and len(one) <= 64 for one in ids)


_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
)
_WORDS = st.sampled_from(["tid", "status", "modified", "orderId", "mailno", "opCode", "2026-11-11 00:00:00", "80"])
_ANYTHING = st.one_of(
    st.binary(max_size=200),
    _VALUES.map(msgspec.json.encode),
    st.dictionaries(_WORDS, st.one_of(_WORDS, _VALUES), max_size=6).map(msgspec.json.encode),
)


@given(_ANYTHING, st.sampled_from(sorted(OURS)))
def test_no_bytes_raise(value: bytes, source: str) -> None:
    """Whatever a source sends is said, unknown or refused with a reason."""
    assert isinstance(OURS[source].read(value), Said | UnknownCode | Undecodable)


def test_a_time_at_the_end_of_the_calendar_is_refused() -> None:
    """In UTC there is no such day: a dead letter, where it used to end the worker that read it, again and again."""
    for at in ("9999-12-31T23:00:00-14:00", "0001-01-01T00:00:00+14:00"):
        body = f'{{"order_sn": "6", "order_status": 2, "refund_status": 1, "updated_at": "{at}"}}'
        found = OURS["pdd"].read(body.encode())
        assert isinstance(found, Undecodable)
        assert (found.reason, found.field) == ("invalid_field", "updated_at")
