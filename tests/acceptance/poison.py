"""Poison for intake: random bytes, submissions made wrong in every way we could think of, and strange envelopes."""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from loadtest.fuzz import mutations

Headers = list[tuple[str, bytes | None]]

CHANNEL = "poison"
SKU = "POISON-1"

DEEP = b'{"unknown":' + b"[" * 60_000
LONG = "x" * 1_000_000


class Dose(NamedTuple):
    """One record to produce, and what kind of thing it is, for a failure's message."""

    kind: str
    key: bytes | None
    value: bytes | None
    headers: Headers


def good(name: str) -> dict[str, Any]:
    """A submission that there is nothing wrong with."""
    return {
        "submission_id": name,
        "channel": CHANNEL,
        "buyer_id": f"buyer-{len(name)}",
        "lines": [{"sku": SKU, "qty": 1, "unit_price": 995}, {"sku": SKU, "qty": 2, "unit_price": 0}],
        "currency": "EUR",
        "submitted_at": datetime.now(UTC).isoformat(),
        "channel_order_no": "№ 12/345",
        "ship_to": {"name": "Zoë Ångström", "city": "杭州"},
    }


def doses(good_ones: int, bad_ones: int, *, seed: int) -> Iterator[Dose]:
    """Good neighbours and so much poison, mixed; always the same but for the time of day."""
    choose = random.Random(seed)
    kinds = ["good"] * good_ones + choose.choices(list(MAKERS), list(WEIGHTS), k=bad_ones)
    kinds += [name for name in MAKERS if name not in kinds]
    choose.shuffle(kinds)
    for number, kind in enumerate(kinds):
        name = f"{kind}-{number}"
        value = _json(good(name)) if kind == "good" else MAKERS[kind](choose, name)
        yield Dose(kind, choose.choice([None, b"", b"\xff\x00", name.encode()]), value, _headers(choose))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _headers(choose: random.Random) -> Headers:
    return choose.choice(
        [
            [],
            [],
            [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
            [("traceparent", None), ("traceparent", b"\xff" * 9), ("", b"")],
            [("ce_id", b"\x00"), ("ce_id", b"again"), ("名", "值".encode())],
            [("floodway-dead-letter", None), ("floodway-dead-letter", b"{}")],
            [("floodway-dead-letter", OLD_LETTER)],
            [(f"h{n}", choose.randbytes(20)) for n in range(100)],
        ]
    )


OLD_LETTER = _json(
    {
        "reason": "not_json",
        "detail": "of another time",
        "topic": "orders.submitted.v1",
        "partition": 0,
        "offset": 4,
        "failed_at": "2026-01-01T00:00:00Z",
    }
)
"""What a replayed dead letter still carries."""


def _bytes(choose: random.Random, _name: str) -> bytes:
    return choose.randbytes(choose.randint(1, 400))


def _flipped(choose: random.Random, name: str) -> bytes:
    value = bytearray(_json(good(name)))
    for _ in range(choose.randint(1, 3)):
        value[choose.randrange(len(value))] ^= 1 << choose.randrange(8)
    return bytes(value)


def _truncated(choose: random.Random, name: str) -> bytes:
    value = _json(good(name))
    return value[: choose.randrange(len(value))]


def _wrong_type(choose: random.Random, name: str) -> bytes:
    value = good(name)
    target, field = choose.choice(_places(value))
    target[field] = choose.choice([None, True, 3, -1, 1.5, "", [], {}, [[]], {"a": None}, "x" * 300])
    return _json(value)


def _places(value: dict[str, Any]) -> list[tuple[Any, Any]]:
    deeper = [(value["lines"], 0), *((line, field) for line in value["lines"] for field in line)]
    return [*((value, field) for field in value), *deeper, *((value["ship_to"], field) for field in value["ship_to"])]


def _field_missing(choose: random.Random, name: str) -> bytes:
    value = good(name)
    target, field = choose.choice(_places(value))
    del target[field]
    return _json(value)


def _number(choose: random.Random, name: str) -> bytes:
    number = choose.choice([b"1e400", b"-0", b"1E5", b"9" * 5_000, b"10001", b"0", b"NaN", b"Infinity", b"01", b"0x1"])
    return _json(good(name)).replace(b'"qty": 1', b'"qty": ' + number)


def _text(choose: random.Random, name: str) -> bytes:
    value = good(name)
    target, field = choose.choice(
        [(value, "buyer_id"), (value, "currency"), (value["ship_to"], "name"), (value["lines"][0], "sku")]
    )
    target[field] = choose.choice(
        ["a\0b", "a\nb", "ABC\n", "\x7f", "\ud800", "a|b", "\uff21\uff22\uff23", "\ufeffABC", " ", "ABC\u0085"]
    )
    return _json(value) if choose.random() < 0.5 else json.dumps(value).encode()


def _time(choose: random.Random, name: str) -> bytes:
    moments = ["2026-11-11T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1999-12-31T23:59:59Z"]
    moments += [
        "2100-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-11",
        "now",
        "1790000000",
        "2026-11-11T25:00:00Z",
    ]
    return _json(good(name) | {"submitted_at": choose.choice(moments)})


def _lines(choose: random.Random, name: str) -> bytes:
    line = {"sku": SKU, "qty": 1, "unit_price": 1}
    lines: Any = choose.choice([[], [line] * 101, [line] * 100, {"0": line}, [line, None], [[line]]])
    return _json(good(name) | {"lines": lines})


def _in_other_encoding(choose: random.Random, name: str) -> bytes:
    text = json.dumps(good(name), ensure_ascii=False)
    return text.encode(choose.choice(["utf-16", "utf-32", "utf-8-sig", "gb18030"]))


def _more_than_one(choose: random.Random, name: str) -> bytes:
    value = _json(good(name))
    return choose.choice([value + value, value + b"\0", b"[" + value + b"]", b'"' + value + b'"', value + b"}"])


def _fuzzed(choose: random.Random, name: str) -> bytes | None:
    """As `floodway fuzz messages` makes them, but for what no broker takes."""
    while (value := mutations.mutated(choose, good(name))) is not None and len(value) > 1_000_000:
        pass
    return value


MAKERS: dict[str, Callable[[random.Random, str], bytes | None]] = {
    "bytes": _bytes,
    "flipped": _flipped,
    "truncated": _truncated,
    "wrong-type": _wrong_type,
    "field-missing": _field_missing,
    "number": _number,
    "text": _text,
    "time": _time,
    "lines": _lines,
    "encoding": _in_other_encoding,
    "more-than-one": _more_than_one,
    "doubled-field": lambda _, name: _json(good(name)).replace(b'"currency"', b'"currency": 3, "currency"'),
    "unknown-field": lambda _, name: _json(good(name) | {"unknown": [{"a": None}], "Currency": 3}),
    "deep": lambda _, name: DEEP,
    "empty": lambda _, name: b"",
    "null": lambda _, name: None,
    "too-large": lambda _, name: _json(good(name) | {"unknown": "x" * 70_000}),
    "megabyte": lambda _, name: _json(good(name) | {"unknown": LONG}),
    "megabyte-of-nothing": lambda _, name: b"\0" * 1_000_000,
    "fuzzed": _fuzzed,
}
WEIGHTS = (2_000, 2_000, 1_000, 1_500, 600, 500, 800, 600, 200, 200, 150, 100, 100, 4, 100, 100, 10, 4, 4, 3_000)
assert len(WEIGHTS) == len(MAKERS)
