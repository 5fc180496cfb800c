"""`floodway submit`: order submissions from a file, as a storefront would produce them."""

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Annotated

import msgspec
from cyclopts import Parameter

from infra.cli.context import out, people, print_json, print_table, settings
from streams.clock import SystemClock
from streams.core.decode import MessageDecoder, Undecodable
from streams.errors import Refused
from streams.messages import Decision, Submission
from streams.stores.kafka_access import access
from streams.stores.log import Entry, Log
from streams.topics import DECIDED, SUBMITTED

SLICE = 1_000


async def submit(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    *,
    wait: bool = False,
    unchecked: bool = False,
    timeout_s: float = 60.0,
    json: bool = False,
) -> int:
    """Produce submissions, one JSON object a line, to `orders.submitted.v1`, keyed `channel:submission_id`.

    Parameters
    ----------
    file
        NDJSON; `-` is standard input.
    wait
        Wait for the decisions; with --json print each, else count them.
    unchecked
        Send lines that are no valid submission too, keyless, as a faulty storefront would.
    timeout_s
        How long to wait for decisions after the last line was sent.
    json
        Print JSON: with --wait one decision a line, else one object.

    """
    from streams.stores.log_kafka import KafkaLog  # noqa: PLC0415 - aiokafka takes a moment to import
    from streams.stores.reader_kafka import TopicReader  # noqa: PLC0415

    if str(file) != "-" and not file.is_file():
        raise Refused(f"There is no file {file}.")
    brokers = access(settings())
    log = await KafkaLog.connect(brokers)
    reader = await TopicReader.open(brokers, DECIDED.name, start="end") if wait else None
    try:
        waiting: Counter[tuple[str, str]] = Counter()
        sent = 0
        for lines in _slices(file):
            sent += await _send(log, lines, waiting, first_line=sent + 1, unchecked=unchecked)
        if reader is None:
            print_json({"submitted": sent}) if json else out.print(f"{sent:,} submissions are in Kafka.")
            return 0
        return await _wait(reader, waiting, timeout_s=timeout_s, json=json)
    finally:
        if reader is not None:
            await reader.close()
        await log.close()


def _slices(file: Path) -> Iterator[list[bytes]]:
    with sys.stdin.buffer if str(file) == "-" else file.open("rb") as source:
        while lines := list(islice(source, SLICE)):
            yield lines


async def _send(
    log: Log, lines: list[bytes], waiting: Counter[tuple[str, str]], *, first_line: int, unchecked: bool
) -> int:
    from streams.stores.partitioner import partition_of  # noqa: PLC0415

    decoder = MessageDecoder(Submission)
    partitions = await log.partitions(SUBMITTED.name)
    now_ms = SystemClock().now_ms()
    entries: dict[int, list[Entry]] = defaultdict(list)
    for number, raw in enumerate(lines, start=first_line):
        line = raw.rstrip(b"\r\n")
        if not line:
            continue
        found = decoder.decode(line)
        if not isinstance(found, Undecodable):
            key = f"{found.channel}:{found.submission_id}".encode()
            waiting[found.channel, found.submission_id] += 1
            entries[partition_of(key, partitions)].append(Entry(key, line, now_ms))
        elif unchecked:
            entries[number % partitions].append(Entry(None, line, now_ms))
        else:
            where, fix = found.field or "$", found.fix or "see the schema"
            sent = f"Lines before {first_line} were sent; to send them again is harmless." if first_line > 1 else ""
            raise Refused(f"line {number} is no submission: {found.detail} at {where}; {fix}. {sent}".rstrip())
    await asyncio.gather(*(log.append(SUBMITTED.name, p, some) for p, some in entries.items()))
    return len(lines)


async def _wait(reader: object, waiting: Counter[tuple[str, str]], *, timeout_s: float, json: bool) -> int:
    decoder = msgspec.json.Decoder(Decision)
    outcomes: Counter[str] = Counter()
    deadline = monotonic() + timeout_s
    while waiting and monotonic() < deadline:
        for records in (await reader.next()).values():  # type: ignore[attr-defined]
            for record in records:
                try:
                    decision = decoder.decode(record.value or b"")
                except msgspec.DecodeError:
                    continue  # somebody else's
                key = (decision.channel, decision.submission_id)
                if key not in waiting:
                    continue
                waiting[key] -= 1
                if waiting[key] == 0:
                    del waiting[key]
                outcomes["replayed" if decision.replay else decision.reason or decision.outcome] += 1
                if json:
                    print(record.value.decode(), flush=True)
    if not json:
        print_table(["decision", "submissions"], outcomes.most_common())
    if waiting:
        people.print(
            f"No decision on {sum(waiting.values())} submissions in {timeout_s:g} s; does an intake worker run?"
        )
        return 1
    return 0
