"""How many workers of a role there should be: what was seen, put before the pure decision, and its answer over HTTP."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus
from time import monotonic, time

import orjson

from agents.exporter.looks import Looks
from agents.observe.server import Answer, Asked, problem
from agents.roles import READS, group
from streams.core.autoscale import Advice, Memory, Policy, Sight, Store, advise

MAX_REPLICAS = 10_000
STALE_LOOKS = 5
"""A look that is older than so many intervals is none."""


@dataclass(slots=True)
class Scaler:
    """Keeps the memory of one role. `step` once a look; `answer` as often as anybody asks."""

    role: str
    looks: Looks
    policy: Policy
    interval_s: float
    memory: Memory = field(default_factory=Memory)
    sight: Sight | None = None
    advice: Advice | None = None

    def step(self) -> None:
        """Take the newest look into account."""
        self.sight = self._sight()
        self.advice, self.memory = advise(self.sight, self.policy, self.memory)

    async def answer(self, asked: Asked) -> Answer:
        """`/autoscale`: as JSON; `min` and `max` in the query narrow the bounds for whoever asks."""
        if asked.query.get("role", self.role) != self.role:
            return problem(HTTPStatus.NOT_FOUND, f"only {self.role} is scaled")
        try:
            least, most = self._bounds(asked.query)
        except ValueError as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error))
        if self.advice is None or self.sight is None or self._is_stale():
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, "nothing was looked at yet; ask again in some seconds")
        body = self._body(self.advice, self.sight, least, most)
        return Answer(200, orjson.dumps(body, option=orjson.OPT_INDENT_2))

    def _body(self, advice: Advice, sight: Sight, least: int, most: int) -> dict[str, object]:
        desired = min(max(advice.desired, least), most)
        return {
            "role": self.role,
            "at": time(),
            "desired": desired,
            "why": advice.why,
            "held_back": advice.held_back,
            "needed": advice.needed,
            "replicas": sight.replicas,
            "min": least,
            "max": most,
            "lag": sight.lag,
            "lag_seconds": round(sight.lag_s, 3),
            "drain_seconds": round(advice.drain_s, 1) if math.isfinite(advice.drain_s) else None,
            "arriving_per_second": round(sight.arriving_per_s, 1),
            "committing_per_second": round(sight.committing_per_s, 1),
            "worker_per_second": round(self.memory.worker_per_s or self.policy.worker_per_s, 1),
            "troubled": advice.troubled,
            "stores": [asdict(store) for store in sight.stores],
        }

    def _bounds(self, query: Mapping[str, str]) -> tuple[int, int]:
        least, most = int(query.get("min", self.policy.least)), int(query.get("max", self.policy.most))
        if not 0 <= least <= most <= MAX_REPLICAS:
            raise ValueError(f"min and max must be whole numbers, 0 <= min <= max <= {MAX_REPLICAS}")
        return least, most

    def _is_stale(self) -> bool:
        return monotonic() - self.looks.looked_at_s > STALE_LOOKS * self.interval_s + self.looks.timeout_s

    def _sight(self) -> Sight:
        looks = self.looks
        sight = Sight(monotonic(), None, replicas=self._replicas(), stores=self._stores())
        if looks.lags is None:
            return sight
        followed = [(group(self.role), topic) for topic in READS[self.role]]
        places = [place for key in followed for place in looks.lags.groups[key].values()]
        return replace(
            sight,
            lag=sum(place.lag for place in places),
            lag_s=max(0.0, *(age_s(place.first_ms) for place in places)),
            arriving_per_s=sum(looks.arriving[topic].per_s for _, topic in followed),
            committing_per_s=sum(looks.committing[key].per_s for key in followed),
        )

    def _replicas(self) -> int | None:
        """Members of the group where the broker tells; else the workers whose metrics could be read."""
        looks = self.looks
        if looks.lags is not None and group(self.role) in looks.lags.members:
            return looks.lags.members[group(self.role)]
        return sum(told.role == self.role for told in looks.workers)

    def _stores(self) -> tuple[Store, ...]:
        looks = self.looks
        unsettled = {name for told in looks.workers if told.role == self.role for name in told.unsettled()}
        probes = {
            "redis": None if looks.stock is None else looks.stock.probe_s,
            "postgres": None if looks.ledger is None else looks.ledger.probe_s,
        }
        return tuple(
            Store(name, probe_s is not None and name not in unsettled, probe_s or 0.0, looks.stage_s.get(name, 0.0))
            for name, probe_s in probes.items()
        )


def age_s(first_ms: int | None) -> float:
    """Seconds since a record was written; 0 for none, and for one of a clock ahead of ours."""
    return 0.0 if first_ms is None else max(0.0, time() - first_ms / 1000)
