"""Stock Faust, one order at a time: what its documentation shows, with `concurrency` actors side by side.

For each order one script call in Redis that knows repeats, one statement in Postgres for decision, order and lines (a
transaction by itself), and one message; the event is acknowledged after the broker has confirmed it. uvloop, msgspec,
statements prepared once a connection, pools as large as the actors can use, a producer that lingers 2 ms where several
actors share it. `python -m loadtest.bench.peers.one_by_one NAME SOURCE TARGET CONCURRENCY`.
"""

import asyncio
from hashlib import sha1
from pathlib import Path
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis

from agents.transport import run_worker
from loadtest.bench.peers.job import HOLD, RECORD, Job, Task, announcement, job, now, pool, row
from loadtest.bench.stock_faust import raw_topic, say_when_assigned, stock_app

MOST_CONNECTIONS = 32
LINGER_S = 0.002
SCRIPT = Path(__file__).with_name("reserve_one.lua").read_text(encoding="utf-8")
DIGEST = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class Stores:
    """Connections, made when the first actor asks."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._lock = asyncio.Lock()
        self._keys = [f"peer:{task.name}:{key}" for key in ("free", "decided", "holds", "due")]
        self.redis: Any = None
        self.postgres: Any = None

    async def ready(self) -> None:
        """Connect once."""
        async with self._lock:
            if self.redis is None:
                size = min(self._task.concurrency, MOST_CONNECTIONS)
                self.redis = Redis.from_pool(
                    BlockingConnectionPool.from_url(self._task.settings.redis_url, max_connections=size, protocol=2)
                )
                await self.redis.script_load(SCRIPT)
                self.postgres = await pool(self._task, size)

    async def reserve(self, found: Job) -> bool:
        """Whether there was stock for all of it; the first answer again for a repeat."""
        deadline_ms = int((now() + HOLD).timestamp() * 1000)
        wanted = [part for line in found.units.items() for part in line]
        arguments = (found.key, found.order_id.bytes, deadline_ms, *wanted)
        return bool(await self.redis.evalsha(DIGEST, len(self._keys), *self._keys, *arguments))


def make_app(task: Task) -> Any:
    """The app with its one agent."""
    linger_s = LINGER_S if task.concurrency > 1 else 0.0
    app = stock_app(f"peer-{task.name}", task.settings.kafka_bootstrap, producer_linger=linger_s)
    source, target = raw_topic(app, task.source), raw_topic(app, task.target)
    stores = Stores(task)

    async def decide(stream: Any) -> None:
        await stores.ready()
        async for message in stream:
            found = job(message)
            accepted = await stores.reserve(found)
            decided_at = now()
            await stores.postgres.fetchval(RECORD, *row(found, accepted=accepted, decided_at=decided_at))
            key, value = announcement(found, accepted=accepted, decided_at=decided_at)
            confirmed = await target.send(key=key, value=value)
            await confirmed

    app.agent(source, name="decide", concurrency=task.concurrency)(decide)
    return app


def main() -> None:
    """Run until told to stop."""
    app = make_app(Task.told())
    say_when_assigned(app)
    run_worker(cast("Any", app))


if __name__ == "__main__":
    main()
