"""Mutated configuration: settings in the environment, deliveries, quotas of promotions, orders to submit, reports."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache, partial
from random import Random
from typing import Any

import orjson

from loadtest.fuzz import mutations, samples, words
from loadtest.fuzz.cli import FILES, add
from loadtest.fuzz.given import SECRET, Given, harmless, is_ours, wrong_with_words
from loadtest.fuzz.program import LOOPBACK, ask, sandbox
from loadtest.fuzz.tally import Finding, Tally
from loadtest.fuzz.tomls import written
from streams.errors import SettingsError
from streams.settings import PREFIX, Settings, environment, load

TARGET = "config"
EACH = 20
SETTINGS = 0.6
"""The share of inputs that are settings; the others are files and arguments."""
CONNECT = 0.2
"""So many of the settings that are taken are also used to connect, which takes longer."""


def run_batch(seed: int, batch: int) -> Tally:
    """Try some; what breaks is a finding."""
    choose = Random(f"{TARGET} {seed} {batch}")  # noqa: S311 - repeatable, not secret
    tally = Tally()
    for _ in range(EACH):
        if choose.random() < SETTINGS:
            _try_settings(choose, tally, seed, batch)
        else:
            add(tally, TARGET, seed, batch, choose.choice(KINDS)(choose))
    return tally


def _environ(choose: Random) -> dict[str, str]:
    """Some settings with odd values."""
    found = {}
    for one in choose.sample(fields(Settings), choose.choice((1, 1, 2, 3))):
        if any(part in one.name for part in ("bootstrap", "url", "dsn")):
            value = words.address(choose)
        elif choose.random() < 0.4 and "str" not in str(one.type):
            value = words.number(choose)
        else:
            value = choose.choice((words.word(choose), words.bent(choose, str(one.default))))
        found[PREFIX + one.name.upper()] = value.replace("\0", "")
    if choose.random() < 0.2:
        found |= {"FLOODWAY_KAFKA_SECURITY": choose.choice(("SSL", "SASL_SSL", "SASL_PLAINTEXT"))}
        found |= {"FLOODWAY_KAFKA_USER": "u", "FLOODWAY_KAFKA_PASSWORD": SECRET}
    return found


def _try_settings(choose: Random, tally: Tally, seed: int, batch: int) -> None:
    environ, connect = _environ(choose), choose.random() < CONNECT
    wrong, fate = wrong_with_settings(environ, connect=connect)
    tally.inputs += 1
    tally.fates[f"settings {fate}"] += 1
    if wrong is None:
        return
    small = dict(environ)
    for name in environ:
        less = {key: value for key, value in small.items() if key != name}
        again = wrong_with_settings(less, connect=connect)[0]
        if again is not None and again.partition(":")[0] == wrong.partition(":")[0]:
            small = less
    tally.broken[wrong.partition(":")[0]] += 1
    tally.findings.append(Finding(TARGET, seed, batch, wrong[:1_000], repr(environ)[:2_000], repr(small)[:1_000]))


def wrong_with_settings(environ: Mapping[str, str], *, connect: bool) -> tuple[str | None, str]:
    """What is wrong with how these settings were taken, and whether they were `taken` or `refused`."""
    try:
        settings = load({**LOOPBACK, **environ})
    except SettingsError as error:
        return _wrong_with_error(error, environ), "refused"
    except Exception as error:
        return f"load raised {type(error).__name__}: {error}", "refused"
    if load(environment(settings)) != settings:
        return "handed on to a child they are others: " + repr(settings), "taken"
    if SECRET in repr(settings):
        return "their text form has a password: " + repr(settings), "taken"
    return (_wrong_connecting(settings) if connect else None), "taken"


def _wrong_with_error(error: SettingsError, environ: Mapping[str, str]) -> str | None:
    if SECRET in str(error):
        return f"the error tells a password: {error}"
    # Control characters and length are the command's to mend, which prints it.
    text = "".join(c for c in str(error) if c.isprintable())[:1_000]
    return wrong_with_words(text, tuple(environ))


def _wrong_connecting(settings: Settings) -> str | None:
    with sandbox(with_stores=False):
        for name, call in _clients().items():
            error = ask(partial(call, settings))
            if not is_ours(error):
                return f"connecting to {name} raised {type(error).__name__}: {error}"
            if SECRET in str(error):
                return f"the error of {name} tells a password: {error}"
    return None


@cache
def _clients() -> dict[str, Callable[[Settings], Any]]:
    """Whatever connects to a server, by the name of the server."""
    from agents.bootstrap import connect_ledger, connect_stock  # noqa: PLC0415 - asyncpg and aiokafka take a moment
    from streams.stores.kafka_access import access  # noqa: PLC0415
    from streams.stores.log_kafka import KafkaLog  # noqa: PLC0415
    from streams.stores.reader_kafka import TopicReader  # noqa: PLC0415
    from streams.stores.topics_kafka import create_topics  # noqa: PLC0415

    async def stock(settings: Settings) -> None:
        made = await connect_stock(settings)
        try:
            await made.carried()
        finally:
            await made.close()

    async def log(settings: Settings) -> object:
        return await KafkaLog.connect(access(settings))

    async def reader(settings: Settings) -> object:
        return await TopicReader.open(access(settings), "orders.decided.v1", start="end")

    async def topics(settings: Settings) -> object:
        return await create_topics(access(settings), partitions=1, replication=1, min_insync=1)

    return {"Postgres": connect_ledger, "Redis": stock, "Kafka": log, "Kafka, reading": reader, "topics": topics}


def _rows(choose: Random) -> list[tuple[str, str]]:
    return [
        (choose.choice(("TEA", "SKU-1", words.word(choose))), choose.choice(("5", "0", words.number(choose))))
        for _ in range(choose.choice((0, 1, 1, 2, 30)))
    ]


def _bytes(choose: Random, text: str) -> bytes:
    """A file, sometimes with damage."""
    value = bytearray(text.encode("utf-8", "surrogateescape"))
    while value and choose.random() < 0.4:
        choose.choice(mutations.BYTES)(choose, value)
    return bytes(value)


def _csv(choose: Random) -> Given:
    header = choose.choice(("sku,qty", "sku,qty", "qty,sku,note", "sku;qty", "SKU,QTY", "", "sku", "sku,qty,qty"))
    ends = choose.choice(("\n", "\r\n", "\r"))
    text = ends.join([header, *(f"{sku},{qty}" for sku, qty in _rows(choose))]) + ends
    return _load(choose, "stock.csv", _bytes(choose, text))


def _ndjson(choose: Random) -> Given:
    lines = []
    for sku, qty in _rows(choose):
        row: dict[str, Any] = {"sku": sku.encode("utf-8", "replace").decode(), "qty": 5}
        lines.append(
            mutations.mutated(choose, row) or b"" if choose.random() < 0.7 else orjson.dumps(row | {"qty": qty[:50]})
        )
    return _load(choose, "stock.ndjson", b"\n".join(lines))


def _load(choose: Random, name: str, content: bytes) -> Given:
    ref = choose.choice(([], [], ["--ref", words.word(choose)], ["--json"]))
    return Given(("stock", "load", name, *_safe(ref)), LOOPBACK, {name: content}, with_stores=True)


def _promo(choose: Random) -> Given:
    quota = [
        choose.choice((f"TEA={words.number(choose)}", "SKU-1=5", words.word(choose)))
        for _ in range(choose.choice((0, 1, 2)))
    ]
    argv = ["promo", "open", choose.choice(("11-11", words.word(choose))), *quota]
    options = {"--opens": words.word, "--closes": words.word, "--lasts": words.word, "--buyer-limit": words.number}
    for name in choose.sample(sorted(options), choose.choice((0, 1, 1, 2))):
        argv += [name, options[name](choose)]
    return Given(tuple(_safe(argv)), LOOPBACK, with_stores=True)


def _orders(choose: Random) -> Given:
    bodies = [samples.submission(choose) for _ in range(choose.choice((1, 2, 5)))]
    lines = [orjson.dumps(body) if choose.random() < 0.5 else mutations.mutated(choose, body) or b"" for body in bodies]
    content = choose.choice((b"\n", b"\r\n")).join(lines)
    options = choose.choice(([], ["--unchecked"], ["--json"], ["--unchecked", "--json"]))
    return Given(("submit", "orders.ndjson", *options), LOOPBACK, {"orders.ndjson": content}, with_stores=True)


def _capacity(choose: Random) -> Given:
    body = {"cpu_us_per_order": {"total": 9.5, "intake_workers": 5.0}, "orders_per_s": 100.0, "workers": 1}
    content = mutations.mutated(choose, body) or b""
    rate = choose.choice(([], [], ["--json"], [f"--rate={words.number(choose)}"]))
    return Given(("capacity", "surge.json", *_safe(rate)), {}, {"surge.json": content})


def _safe(argv: list[str]) -> list[str]:
    return [harmless(word) for word in argv]


KINDS: tuple[Callable[[Random], Given], ...] = (
    _csv,
    _csv,
    _ndjson,
    _promo,
    _promo,
    _orders,
    _capacity,
    written,
    written,
)
assert set(FILES) >= {"stock.csv", "stock.ndjson", "orders.ndjson", "surge.json"}, "files have one name everywhere"
