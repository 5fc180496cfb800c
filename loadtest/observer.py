"""The observer, a process of its own: watches `orders.decided.v1` as any consumer would.

Latency is measured from the intended time of submission to when the decision is in the consumer's hands.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from pathlib import Path

import uvloop

from loadtest import planfile
from loadtest.tally import Tally, report_bytes
from streams.settings import load
from streams.stores.kafka_access import access
from streams.stores.reader_kafka import TopicReader
from streams.topics import DECIDED

TELL_S = 0.5
LOOK_S = 0.1
CHUNK_RECORDS = 2_000


class Observer:
    """Reads decisions from where the topic ended when it was made, and tells on standard output how far it is."""

    def __init__(self, reader: TopicReader, tally: Tally) -> None:
        self._reader = reader
        self._tally = tally
        self._told_at = 0.0
        self._is_complete = False

    async def run(self, told_to_end: "asyncio.Future[str]") -> None:
        """Look until told to end; say once when all that is due has come."""
        while not told_to_end.done():
            await self.look()

    async def look(self) -> None:
        """Count what has arrived."""
        arrived = await self._reader.next(timeout_s=LOOK_S, max_records=CHUNK_RECORDS)
        now_ms = time.time_ns() / 1e6
        for records in arrived.values():
            self._tally.add([record.value for record in records if record.value is not None], now_ms)
        now = time.monotonic()
        completed = self._tally.left == 0 and not self._is_complete
        if completed or now - self._told_at > TELL_S:
            self._told_at, self._is_complete = now, self._tally.left == 0
            said = {"decided": self._tally.decided, "p99_ms": self._tally.recent_p99_ms()}
            print(json.dumps({**said, "complete": self._is_complete}), flush=True)


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sends", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("--run", required=True)
    parser.add_argument("--keep-ids", action="store_true")
    args = parser.parse_args()
    reader = await TopicReader.open(access(load()), DECIDED.name, start="end")
    tally = Tally(args.run, planfile.read_sends(args.sends), keep_ids=args.keep_ids)
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        print(json.dumps({"ready": tally.left}), flush=True)
        told_to_end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        await Observer(reader, tally).run(told_to_end)
        started_at_ms = told_to_end.result().strip()
        if started_at_ms:  # else whoever started us is gone
            args.report.write_bytes(report_bytes(tally.report(int(started_at_ms))))
    finally:
        await reader.close()


if __name__ == "__main__":
    uvloop.run(_main())
