"""Processes that read a topic and do no work: `python -m loadtest.bench.readers chunks|faust BOOTSTRAP TOPIC MOST`.

`chunks` is our transport, acknowledging each chunk; `faust` is stock Faust as its documentation has it for batches:
an agent over `stream.take`. MOST is how many records an event may have.
"""

import sys
from typing import Any

from agents.transport import TransportSettings, chunk_app, chunk_topic, run_worker
from loadtest.bench.held import tell_read
from loadtest.bench.stock_faust import raw_topic, say_when_assigned, stock_app

TAKE_WITHIN_S = 0.1


def faust_reader(bootstrap: str, topic: str, most: int) -> Any:
    """Stock Faust."""
    app = stock_app("bench-faust", bootstrap)

    async def read(stream: Any) -> None:
        total = 0
        async for values in stream.take(most, within=TAKE_WITHIN_S):
            total += len(values)
            tell_read(total)

    app.agent(raw_topic(app, topic), name="read")(read)
    return app


def chunk_reader(bootstrap: str, topic: str, most: int) -> Any:
    """Our transport, with the limits that workers run with."""
    limits = TransportSettings(chunk_max_records=most, max_inflight_records=max(20_000, 4 * most))
    app = chunk_app("bench-chunks", bootstrap, session_timeout_s=10.0, transport=limits)

    async def read(stream: Any) -> None:
        total = 0
        async for chunk in stream:
            total += len(chunk)
            chunk.acknowledge()
            tell_read(total)

    app.agent(chunk_topic(app, topic), name="read")(read)
    return app


def main() -> None:
    """Run until told to stop."""
    kind, bootstrap, topic, most = sys.argv[1:]
    app = {"chunks": chunk_reader, "faust": faust_reader}[kind](bootstrap, topic, int(most))
    say_when_assigned(app)
    run_worker(app)


if __name__ == "__main__":
    main()
