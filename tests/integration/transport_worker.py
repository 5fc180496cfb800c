"""A worker process for the transport's tests: `python transport_worker.py BOOTSTRAP GROUP TOPIC MODE`.

It writes one line for each chunk that it is about to acknowledge: `partition first_offset next_offset`. Modes:
`ack` acknowledges everything; `raise` and `cancel` die of the first chunk that starts at or after offset 10;
`slow` takes 20 ms for a chunk; `hang` waits for ever, and `block` stops the event loop, from offset 10 on.
"""

import asyncio
import sys
import time
from typing import Any

from agents.transport import TransportSettings, chunk_app, chunk_topic, run_worker


def main() -> None:
    """Run the worker; never returns."""
    bootstrap, group, topic, mode = sys.argv[1:]
    chunk_max = 100 if mode == "slow" else 10
    app = chunk_app(
        group,
        bootstrap,
        session_timeout_s=3.0,
        commit_interval_s=0.2,
        transport=TransportSettings(chunk_max_records=chunk_max, commit_timeout_s=2.0, stall_timeout_s=4.0),
    )

    async def work(stream: Any) -> None:
        async for chunk in stream:
            if chunk.first_offset >= 10 and mode == "raise":
                raise ValueError("the body failed")
            if chunk.first_offset >= 10 and mode == "cancel":
                raise asyncio.CancelledError
            if chunk.first_offset >= 10 and mode == "hang":
                await asyncio.Event().wait()
            if chunk.first_offset >= 10 and mode == "block":
                time.sleep(60)  # noqa: ASYNC251 - that is what is tried
            if mode == "slow":
                await asyncio.sleep(0.02)
            sys.stdout.write(f"{chunk.partition} {chunk.first_offset} {chunk.next_offset}\n")
            sys.stdout.flush()
            chunk.acknowledge()

    app.agent(chunk_topic(app, topic))(work)
    run_worker(app, loglevel="CRITICAL")


if __name__ == "__main__":
    main()
