"""Ways to make a good message bad, or only odd: of its structure, of its text, of its bytes, of what is around it.

Structure is mutated as Python values. What JSON writers would not write (NaN, half a surrogate pair, a name that
stands twice) is put in by marks that the written text has replaced, see `Tree`.
"""

import codecs
from collections.abc import Callable
from random import Random
from typing import Any

import orjson

from loadtest.fuzz.samples import Body
from streams.stores.log import Headers

_NUMBERS = (
    *(
        b"0",
        b"-0",
        b"-1",
        b"1",
        b"1.0",
        b"1.5",
        b"1e0",
        b"1E5",
        b"10001",
        b"10000.0",
        b"1000000001",
        b"1e400",
        b"-1e400",
    ),
    *(
        b"1e-400",
        b"9007199254740991",
        b"9007199254740992",
        b"9223372036854775808",
        b"18446744073709551616",
        b"-" + b"9" * 20,
    ),
    *(b"9" * 400, b"0." + b"1" * 400, b"01", b"0x1", b"+1", b".5", b"5.", b"1_000", b"1e", b"-", b"NaN", b"Infinity"),
    *(b"-Infinity", b"nan", b"\xd9\xa1", b"\xef\xbc\x91"),
)
_TEXTS = (
    *(b'""', b'" "', b'"a\\u0000b"', b'"a\x00b"', b'"a\\nb"', b'"a\nb"', b'"ABC\\n"', b'"\x7f"', b'"a|b"', b'"a:b"'),
    *(
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\ud83d\\ude00"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b'"\xc0\xaf"',
        b'"\xf4\x90\x80\x80"',
    ),
    *(
        b'"\xef\xbb\xbfABC"',
        b'"\xef\xbc\xa1\xef\xbc\xa2\xef\xbc\xa3"',
        b'"\xe2\x80\xae"',
        b'"\\x41"',
        b'"\\u00"',
        b'"\\',
        b"'a'",
    ),
    *(
        b'"ABC\xc2\x85"',
        b'"\xc5\xbf"',
        b'"\xe2\x84\xaa"',
        b'"-a"',
        b'".a"',
        b'"__proto__"',
        b'"${x}"',
        b'"%s"',
        b'"\\/"',
    ),
)
_TIMES = (
    *(
        b'"2026-11-11T00:00:00"',
        b'"0001-01-01T00:00:00+14:00"',
        b'"9999-12-31T23:59:59-14:00"',
        b'"1999-12-31T23:59:59Z"',
    ),
    *(
        b'"2100-01-01T00:00:00Z"',
        b'"2099-12-31T23:59:59.9999999Z"',
        b'"2026-02-30T00:00:00Z"',
        b'"2026-11-11"',
        b'"now"',
    ),
    *(b'"1790000000"', b"1790000000", b"1790000000.5", b'"2026-11-11T25:00:00Z"', b'"2026-11-11T24:00:00Z"'),
    *(b'"2026-11-11 00:00:00Z"', b'"2026-11-11t00:00:00z"', b'"2026-06-30T23:59:60Z"', b'"2026-11-11T00:00:00+24:00"'),
    *(b'"2026-11-11T00:00:00+0800"', b'"2026-11-11T00:00Z"', b'"2026-11-11T00:00:00,5Z"', b'"-2026-11-11T00:00:00Z"'),
    *(
        b'"2026-11-11T00:00:00.Z"',
        b'"2026-11-11T00:00:00-00:00"',
        b'"2000-01-01T00:00:00+00:01"',
        b'"02026-11-11T00:00:00Z"',
    ),
)
_IDS = (
    *(
        b'"01920000000070008000000000000000"',
        b'"01920000-0000-7000-8000-00000000000"',
        b'"{01920000-0000-7000-8000-000000000000}"',
    ),
    *(b'"urn:uuid:01920000-0000-7000-8000-000000000000"', b'"0192000000007000-8000-000000000000"'),
    *(
        b'"01920000-0000-7000-8000-00000000000G"',
        b'"01920000-0000-7000-8000-0000000000AF"',
        b'"payment.failed"',
        b'"PAYMENT.SUCCEEDED"',
    ),
)
_VALUES = (
    *(
        b"null",
        b"true",
        b"false",
        b"[]",
        b"{}",
        b"[[]]",
        b"[null]",
        b'{"":null}',
        b'{"sku":"a"}',
        b"undefined",
        b"",
        b",",
        b"/**/1",
    ),
)
_LENGTHS = (0, 1, 31, 32, 33, 63, 64, 65, 255, 256, 257, 2_000)
_DEPTHS = (5, 60, 1_000, 1_025, 30_000)
_ALPHABETS = ("a", "ab1-._~@+", "!~:|", "é", "杭", "🛒", "\u0000\t\n\r\u001f\u007f", " ")
_ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "gb18030", "latin-1", "utf-7")
_GARBAGE = (b"\0", b" ", b"\n", b"x", b"}", b"]", b",", b"\xff", codecs.BOM_UTF8, b"{}", b"//", b"\x1f\x8b\x08")
BIG_SHARE = 0.002
"""So many messages are made giants: they cost what a thousand others do."""


class Tree:
    """A message on its way to bytes: Python values, with marks for what no JSON writer writes."""

    def __init__(self, body: Body) -> None:
        self.body: Any = body
        self._raw: list[tuple[bytes, bytes]] = []

    def raw(self, text: bytes) -> str:
        """A value that will be written as these bytes."""
        mark = f"@@{len(self._raw)}@@"
        self._raw.append((b'"' + mark.encode() + b'"', text))
        return mark

    def written(self) -> bytes:
        """The message as bytes."""
        text = orjson.dumps(self.body)
        for mark, raw in self._raw:
            text = text.replace(mark, raw, 1)
        return text


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every value in a tree, as what holds it and where."""
    found: list[tuple[Any, Any]] = []
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    for at, below in items:
        found.append((node, at))
        found += _places(below)
    return found


def _place(choose: Random, tree: Tree) -> tuple[Any, Any]:
    places = _places(tree.body)
    return choose.choice(places) if places else ({}, "x")


def _put(choose: Random, tree: Tree, values: tuple[bytes, ...]) -> None:
    target, at = _place(choose, tree)
    target[at] = tree.raw(choose.choice(values))


def _odd_value(choose: Random, tree: Tree) -> None:
    _put(choose, tree, choose.choice((_NUMBERS, _TEXTS, _TIMES, _IDS, _VALUES)))


def _fitting_value(choose: Random, tree: Tree) -> None:
    """Something odd of the kind that stood there: what gets past a look at the type."""
    target, at = _place(choose, tree)
    old = target[at] if isinstance(target, list) else target.get(at)
    if isinstance(old, int):
        target[at] = choose.choice(
            (tree.raw(choose.choice(_NUMBERS)), old + choose.choice((-1, 1)), choose.getrandbits(40))
        )
    elif isinstance(at, str) and at.endswith("_at"):
        target[at] = tree.raw(choose.choice(_TIMES))
    elif at in {"order_id", "type"}:
        target[at] = tree.raw(choose.choice(_IDS))
    else:
        target[at] = tree.raw(choose.choice(_TEXTS))


def _without(choose: Random, tree: Tree) -> None:
    target, at = _place(choose, tree)
    if target:
        del target[at]


def _length(choose: Random, tree: Tree) -> None:
    target, at = _place(choose, tree)
    alphabet = choose.choice(_ALPHABETS)
    target[at] = "".join(choose.choices(alphabet, k=choose.choice(_LENGTHS)))


def _twice(choose: Random, tree: Tree) -> None:
    """A name that stands twice in one object, with the same value or another, first or last."""
    target, at = _place(choose, tree)
    if not isinstance(target, dict) or at not in target:
        return
    name = tree.raw(orjson.dumps(at))
    again = {name: choose.choice((target[at], None, 3, tree.raw(choose.choice(_VALUES + _NUMBERS))))}
    items = {**again, **target} if choose.random() < 0.5 else {**target, **again}
    target.clear()
    target.update(items)


def _other_name(choose: Random, tree: Tree) -> None:
    target, at = _place(choose, tree)
    if not isinstance(target, dict) or at not in target or not at:
        return
    value = target.pop(at)
    escaped = f'"\\u{ord(at[0]):04x}{at[1:]}"'.encode()
    other = choose.choice((at.upper(), f" {at}", f"{at}\0", at[:-1], tree.raw(escaped)))
    target[other] = value


def _unknown(choose: Random, tree: Tree) -> None:
    target, _ = _place(choose, tree)
    if isinstance(target, dict):
        deep = choose.choice(_DEPTHS)
        nested = b"[" * deep + b"]" * deep if choose.random() < 0.7 else b'{"a":' * deep + b"1" + b"}" * deep
        target[choose.choice(("unknown", "", "Currency", "\ufeff", "lines2"))] = tree.raw(
            choose.choice((nested, *_VALUES, *_NUMBERS, *_TEXTS))
        )


def _deep(choose: Random, tree: Tree) -> None:
    target, at = _place(choose, tree)
    deep = choose.choice(_DEPTHS)
    target[at] = tree.raw(choose.choice((b"[" * deep, b'{"":' * deep, b"[" * deep + b"]" * deep)))


def _wrapped(choose: Random, tree: Tree) -> None:
    target, at = _place(choose, tree)
    old = target[at] if isinstance(target, list) else target.get(at)
    target[at] = choose.choice(([old], {"0": old}, {at if isinstance(at, str) else "x": old}, [old, old], str(old)))


def _swapped(choose: Random, tree: Tree) -> None:
    """Two values change places."""
    places = _places(tree.body)
    if len(places) > 1:
        (one, at), (other, there) = choose.sample(places, 2)
        if not _holds(one[at], other) and not _holds(other[there], one):
            one[at], other[there] = other[there], one[at]


def _holds(node: Any, sought: Any) -> bool:
    return node is sought or any(held[at] is sought for held, at in _places(node))


def _many(choose: Random, tree: Tree) -> None:
    """A list with none, the most, or too many."""
    lists = [(held, at) for held, at in _places(tree.body) if isinstance(held[at], list) and held[at]]
    if lists:
        held, at = choose.choice(lists)
        count = choose.choice((0, 99, 100, 101, 300))
        held[at] = (held[at] * count)[:count]


STRUCTURE: tuple[Callable[[Random, Tree], None], ...] = (
    *(_fitting_value, _fitting_value, _odd_value, _without, _length, _twice, _other_name, _unknown, _wrapped, _swapped),
    *(_many, _deep),
)


def _flip(choose: Random, value: bytearray) -> None:
    for _ in range(choose.randint(1, 3)):
        value[choose.randrange(len(value))] ^= 1 << choose.randrange(8)


def _cut(choose: Random, value: bytearray) -> None:
    del value[choose.randrange(len(value)) :]


def _gap(choose: Random, value: bytearray) -> None:
    at = choose.randrange(len(value))
    del value[at : at + choose.randint(1, 9)]


def _copied(choose: Random, value: bytearray) -> None:
    at, to = choose.randrange(len(value)), choose.randrange(len(value))
    value[to:to] = value[at : at + choose.randint(1, 40)]


def _inserted(choose: Random, value: bytearray) -> None:
    at = choose.choice((0, len(value), choose.randrange(len(value))))
    value[at:at] = choose.choice((*_GARBAGE, choose.randbytes(choose.randint(1, 8))))


def _encoded(choose: Random, value: bytearray) -> None:
    text = value.decode("utf-8", "replace")
    value[:] = text.encode(choose.choice(_ENCODINGS), "replace")


def _doubled(choose: Random, value: bytearray) -> None:
    value[:] = choose.choice((value + value, b"[" + value + b"]", b'"' + value + b'"', value.upper(), value[::-1]))


def _random(choose: Random, value: bytearray) -> None:
    value[:] = choose.randbytes(choose.randint(1, 300))


BYTES: tuple[Callable[[Random, bytearray], None], ...] = (
    *(_flip, _flip, _cut, _gap, _copied, _inserted, _encoded, _doubled, _random),
)


def mutated(choose: Random, body: Body) -> bytes | None:
    """A message made from a good one by some mutations, which may leave it good. None is a record without a value."""
    tree, what = Tree(body), choose.random()
    if what < 0.7:
        for _ in range(choose.choice((1, 1, 1, 2, 3))):
            choose.choice(STRUCTURE)(choose, tree)
    value = bytearray(tree.written())
    if what >= 0.6:
        for _ in range(choose.choice((1, 1, 2, 4))):
            if value:
                choose.choice(BYTES)(choose, value)
    if choose.random() < BIG_SHARE:
        return _giant(choose, bytes(value))
    return bytes(value)


def _giant(choose: Random, value: bytes) -> bytes | None:
    size = choose.choice((65_535, 65_536, 65_537, 1_048_577, 3_000_000))
    padded = b'{"unknown":"' + b"x" * max(0, size - len(value) - 13) + b'",' + value[1:]
    return choose.choice((None, b"", padded, b" " * max(0, size - len(value)) + value, b"\0" * size, b'"' * size))


def key(choose: Random) -> bytes | None:
    """What may stand where the key should."""
    return choose.choice((None, b"", b"web:S-1", b"\xff\x00", b"k" * 2_000))


def headers(choose: Random) -> Headers:
    """What may stand around a message."""
    if choose.random() < 0.5:
        return ()
    trace = f"{choose.getrandbits(8):02x}-{choose.getrandbits(128):032x}-{choose.getrandbits(64):016x}-01".encode()
    bad = bytearray(trace)
    choose.choice(BYTES)(choose, bad)
    some: list[tuple[str, bytes | None]] = [
        ("traceparent", trace),
        ("traceparent", bytes(bad)),
        ("traceparent", None),
        ("Traceparent", trace),
        ("floodway-dead-letter", None),
        ("floodway-dead-letter", b'{"reason":"not_json"}'),
        ("floodway-dead-letter", bytes(bad)),
        ("floodway-replay-of", b"3-7"),
        ("ce_id", choose.randbytes(20)),
        ("", b""),
        ("名\\xff\0", "值".encode()),
        ("h" * 300, b"v" * choose.choice((0, 1, 40_000))),
    ]
    return tuple(choose.choices(some, k=choose.choice((1, 1, 2, 5, 60))))
