"""All drills, with a line on what each proves."""

import asyncio
from dataclasses import replace
from functools import partial
from random import Random

from infra.embedded import Part, Standby
from loadtest.drills.drill import KAFKA_ONLY, Drill, Fault, Load, NoFault, Scene
from loadtest.drills.failover import Failover, FailoverAsync
from loadtest.drills.floods import TIMES, poisoned, repeated
from loadtest.drills.network import BrokerKill, Network
from loadtest.drills.postgres import DiskFull, PrimaryFrozen, ReplicaLag, ServerKill, can_mount
from loadtest.drills.processes import ClockJump, ScaleUpDown, WorkerDrain, WorkerKill, WorkerStall
from loadtest.drills.proxy import Mode
from loadtest.drills.redis import RedisAway, RedisEmpty, RedisFrozen, RedisKill, RedisRollback

APART_S = (0.0, 2.0)
"""Of two faults at once the second comes so much later."""
SLOW_S = 0.2
QUICK = Load(seconds=9.0)
"""For faults of five seconds at the most: most are healed while orders still come."""

SINGLE: tuple[Drill, ...] = (
    Drill(
        "worker-kill",
        "Intake workers killed -9 in the middle of batches lose and double nothing.",
        WorkerKill,
        own_stack=True,
    ),
    Drill(
        "worker-stall",
        "A worker frozen past its session, whose partitions others took, wakes up and does no harm.",
        WorkerStall,
        own_stack=True,
        lasts_s=(8.0, 10.0),
    ),
    Drill("worker-drain", "A worker told to end finishes what it has in hands, in time, and ends with 0.", WorkerDrain),
    Drill(
        "lifecycle-kill",
        "The worker that ends holds is killed while thousands expire: every hold ends once.",
        partial(WorkerKill, "lifecycle"),
        settings={"hold_ttl_s": 3.0},
        holds_end=True,
    ),
    Drill(
        "scale-up-down",
        "One worker, then four, then one again under load: partitions change hands and nothing is lost.",
        ScaleUpDown,
        load=Load(rate_per_s=1_500.0, seconds=75.0),  # on tansu four workers need 14 s to get partitions
        intake_workers=1,
    ),
    Drill(
        "clock-jump",
        "A worker whose clock jumps an hour decides beside one that is right, and nothing is sold twice.",
        ClockJump,
        own_stack=True,
        load=QUICK,
        lasts_s=(3.0, 5.0),
    ),
    Drill(
        "redis-kill",
        "Redis killed -9 comes back: its stock is rebuilt, and what was under way is decided once.",
        RedisKill,
        load=QUICK,
        lasts_s=(1.0, 4.0),
        stops_all=True,
    ),
    Drill(
        "redis-empty",
        "Redis comes back empty: the stock is rebuilt from the ledger under a new epoch, and nothing is sold twice.",
        RedisEmpty,
        load=QUICK,
        lasts_s=(1.0, 3.0),
        stops_all=True,
    ),
    Drill(
        "redis-rollback",
        "Redis comes back with older data: it is found out, the stock rebuilt, and nothing is sold twice.",
        RedisRollback,
        lasts_s=(1.0, 3.0),
        stops_all=True,
    ),
    Drill(
        "redis-frozen",
        "Scripts that run after their callers have given up on them take nothing twice.",
        RedisFrozen,
        lasts_s=(4.0, 7.0),
        stops_all=True,
    ),
    Drill(
        "review",
        "What waits longer than patience lasts is put aside and told of, and decided once when Redis is back.",
        RedisAway,
        lasts_s=(12.0, 15.0),
        stops_all=True,
        opens="redis",
        settings={"review_after_s": 4.0, "breaker_open_s": 1.0},
    ),
    Drill(
        "redis-slow",
        "A Redis 400 ms away slows orders and loses none.",
        partial(Network, "redis", delay_s=SLOW_S),
        lasts_s=(4.0, 6.0),
        settings={"breaker_slow_s": 1.5 * SLOW_S},
        opens="redis",
    ),
    Drill(
        "postgres-primary-kill",
        "Nothing was announced that the primary does not know after kill -9 and recovery.",
        partial(ServerKill, Part.POSTGRES),
        load=QUICK,
        lasts_s=(2.0, 5.0),
        stops_all=True,
    ),
    Drill(
        "postgres-failover",
        "A primary lost for good, its standby promoted: nothing was announced that the new one does not know.",
        Failover,
        lasts_s=(1.0, 3.0),
        stops_all=True,
        standby=Standby.SYNC,
    ),
    Drill(
        "postgres-failover-async",
        "Announced decisions that an asynchronous standby never got are found by the audit, and come back by a rewind.",
        FailoverAsync,
        lasts_s=(1.0, 3.0),
        stops_all=True,
        standby=Standby.ASYNC,
        brokers=KAFKA_ONLY,
    ),
    Drill(
        "postgres-frozen",
        "Commits that went through after their callers had given up count once.",
        PrimaryFrozen,
        lasts_s=(6.0, 9.0),
        stops_all=True,
    ),
    Drill(
        "postgres-slow",
        "A primary 400 ms away slows orders and loses none.",
        partial(Network, "postgres", delay_s=SLOW_S),
        lasts_s=(4.0, 6.0),
        settings={"breaker_slow_s": 1.5 * SLOW_S},
        opens="postgres",
    ),
    Drill(
        "postgres-disk-full",
        "A primary that panics for want of room for its log, and cannot recover until there is some, loses nothing.",
        DiskFull,
        own_stack=True,
        lasts_s=(3.0, 5.0),
        stops_all=True,
        missing_here=can_mount,
    ),
    Drill(
        "replica-lag",
        "A replica that replays nothing holds up no order.",
        ReplicaLag,
        lasts_s=(4.0, 6.0),
        may_announce_again=False,
    ),
    Drill(
        "replica-down",
        "A replica that is gone holds up no order.",
        partial(ServerKill, Part.REPLICA),
        load=QUICK,
        lasts_s=(3.0, 5.0),
        may_announce_again=False,
    ),
    Drill(
        "broker-kill",
        "One of three brokers killed -9: what was acknowledged is there, and orders flow on.",
        partial(BrokerKill, 3),
        lasts_s=(4.0, 8.0),
        brokers=KAFKA_ONLY,
        nodes=3,
    ),
    Drill(
        "broker-restart",
        "The only broker killed -9 and started again: orders wait, and none is lost or doubled.",
        BrokerKill,
        lasts_s=(2.0, 5.0),
        stops_all=True,
        brokers=KAFKA_ONLY,
    ),
    *(
        Drill(
            f"network-{words}-{link}",
            f"Workers and {link.capitalize()}: {proves}.",
            partial(Network, link, mode, delay_s=delay_s),
            load=QUICK if lasts_s[1] <= 5.0 else Load(),
            own_stack=link == "kafka",
            lasts_s=lasts_s,
            stops_all=mode is not Mode.OPEN,
        )
        for link in ("kafka", "redis", "postgres")
        for words, mode, delay_s, lasts_s, proves in (
            ("cut", Mode.CUT, 0.0, (3.0, 5.0), "connections are reset and refused for a while"),
            ("delay", Mode.OPEN, SLOW_S, (4.0, 6.0), "every packet takes 200 ms each way"),
            ("hole", Mode.BLACK_HOLE, 0.0, (5.0, 8.0), "nothing passes, and nobody is told"),
            ("half", Mode.HALF_CLOSE, 0.0, (2.0, 4.0), "questions arrive, answers are lost: done, and nobody was told"),
        )
        # A slow Redis and a slow Postgres are above.
        if words != "delay" or link == "kafka"
    ),
    Drill(
        "poison-flood",
        "With 60 % of all messages malformed, each becomes a dead letter and each good order is decided.",
        NoFault,
        load=replace(QUICK, reshape=poisoned, times=2),
        may_announce_again=False,
    ),
    Drill(
        "duplicate-flood",
        "With every order sent five times, each is decided once and answered five times.",
        NoFault,
        load=replace(QUICK, reshape=repeated, times=TIMES),
        may_announce_again=False,
    ),
)

PAIRABLE = (
    "worker-kill",
    "worker-stall",
    "redis-kill",
    "redis-frozen",
    "postgres-primary-kill",
    "postgres-frozen",
    "network-cut-kafka",
    "network-cut-redis",
    "network-cut-postgres",
    "network-half-kafka",
    "network-half-redis",
    "network-half-postgres",
)
"""Faults that may be there at the same time: none ends what another has frozen, two on one link are not drawn."""


class TwoAtOnce(Fault):
    """Two faults of PAIRABLE on different parts, the second while the first is there."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    async def inject(self, scene: Scene, choose: Random) -> None:
        """Put both in."""
        first, second = pair(choose)
        for drill in (first, second):
            if self._faults:
                await asyncio.sleep(choose.uniform(*APART_S))
            fault = drill.fault()
            self._faults.append(fault)
            scene.say(f"{drill.name}:")
            await fault.inject(scene, choose)

    async def heal(self, scene: Scene) -> None:
        """Take both out, in the same order."""
        for fault in self._faults:
            await fault.heal(scene)


def pair(choose: Random) -> tuple[Drill, Drill]:
    """Two drills to do at once: not on the same part, so that neither heals the other."""
    first = choose.choice(PAIRABLE)
    second = choose.choice([name for name in PAIRABLE if _part(name) != _part(first)])
    return DRILLS[first], DRILLS[second]


def _part(name: str) -> str:
    kind, _, rest = name.partition("-")
    return rest.rpartition("-")[2] if kind == "network" else kind


DRILLS: dict[str, Drill] = {
    drill.name: drill
    for drill in (
        *SINGLE,
        Drill(
            "two-at-once",
            "Two faults on different parts, drawn by the seed, the second while the first is there.",
            TwoAtOnce,
            own_stack=True,
            lasts_s=(6.0, 9.0),
        ),
    )
}
"""Every drill by its name, in the order in which they are run."""

assert len(DRILLS) == len(SINGLE) + 1, "two drills have one name"
assert all(name in DRILLS for name in PAIRABLE)
