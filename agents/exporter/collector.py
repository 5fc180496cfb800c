"""What the exporter tells: the newest looks, as metrics. What could not be looked at is left out."""

from collections import Counter as Tally
from collections.abc import Iterator
from time import monotonic

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from agents.exporter.looks import LETTERS, REVIEWED, Looks
from agents.exporter.scaling import Scaler, age_s
from streams import metrics
from streams.stores.outside_kafka import Lags
from streams.telemetry import family


class Collected(Collector):
    """All metrics of the exporter."""

    def __init__(self, looks: Looks, scaler: Scaler) -> None:
        self._looks, self._scaler = looks, scaler

    def collect(self) -> Iterator[Family]:
        """See the client."""
        looks = self._looks
        if looks.lags is not None:
            yield from self._lags(looks.lags)
        yield from self._stores()
        yield from self._stock()
        yield from self._ledger()
        yield from self._scaling()

    def _lags(self, lags: Lags) -> Iterator[Family]:
        looks = self._looks
        at = [((*key, number), place) for key, places in lags.groups.items() for number, place in places.items()]
        yield family(metrics.LAG, [(labels, place.lag) for labels, place in at])
        sums = [(key, sum(place.lag for place in places.values())) for key, places in lags.groups.items()]
        yield family(metrics.LAG_SUM, sums)
        yield family(metrics.LAG_S, [(labels, age_s(place.first_ms)) for labels, place in at])
        yield family(metrics.COMMITTED, [(la, p.committed) for la, p in at if p.committed is not None])
        ends = {(topic, number): place for (_, topic, number), place in at}
        yield family(metrics.END, [(labels, place.end) for labels, place in ends.items()])
        yield family(metrics.OLDEST, [(labels, place.oldest) for labels, place in ends.items()])
        yield family(metrics.MEMBERS, [((name,), count) for name, count in lags.members.items()])
        now_s = monotonic()
        yield family(metrics.COMMIT_AGE, [(key, now_s - since_s) for key, (_, since_s) in looks.moved_at_s.items()])
        yield family(metrics.DEAD_LETTERS_KEPT, [((topic,), lags.kept[topic]) for topic in LETTERS])
        yield family(metrics.UNDER_REVIEW, [((), dict(sums)[REVIEWED])])
        yield family(metrics.LAG_LOOKED, [((), looks.lags_at_s)])
        yield family(metrics.ARRIVING, [((topic,), rate.per_s) for topic, rate in looks.arriving.items()])
        yield family(metrics.COMMITTING, [(key, rate.per_s) for key, rate in looks.committing.items()])

    def _stores(self) -> Iterator[Family]:
        looks = self._looks
        stores = ("kafka", "redis", "postgres")
        yield family(metrics.STORE_UP, [((name,), float(looks.up[name])) for name in stores if name in looks.up])
        probes = {
            "kafka": looks.lags and looks.lags.seconds,
            "redis": looks.stock and looks.stock.probe_s,
            "postgres": looks.ledger and looks.ledger.probe_s,
        }
        yield family(metrics.STORE_PROBE_S, [((name,), s) for name, s in probes.items() if s is not None])
        if looks.epochs is not None:
            epochs = {"redis": looks.epochs.stock, "postgres": looks.epochs.ledger}
            yield family(metrics.EPOCH, [((name,), epoch) for name, epoch in epochs.items() if epoch is not None])
            yield family(metrics.EPOCH_MISMATCH, [((), float(not looks.epochs.agree))])

    def _stock(self) -> Iterator[Family]:
        looks = self._looks
        if looks.stock is not None:
            generations = list(enumerate(looks.stock.remembered))
            yield family(metrics.DEDUPE_KEYS, [((n,), keys) for n, (keys, _) in generations])
            yield family(metrics.DEDUPE_BYTES, [((n,), size) for n, (_, size) in generations])
            yield family(metrics.REDIS_MEMORY, [((), looks.stock.memory_bytes)])
            if looks.redis_cpu_ratio is not None:
                yield family(metrics.REDIS_CPU, [((), looks.redis_cpu_ratio)])
        if looks.shelves is not None:
            shelves = looks.shelves
            units = [((s.pool, name), getattr(s, name)) for s in shelves for name in ("free", "held", "sold")]
            yield family(metrics.STOCK_UNITS, units)
            yield family(metrics.STOCK_SKUS, [((s.pool,), s.skus) for s in shelves])
            yield family(metrics.STOCK_SKUS_LOW, [((s.pool,), s.low) for s in shelves])
            yield family(metrics.STOCK_SKUS_OUT, [((s.pool,), s.out) for s in shelves])

    def _ledger(self) -> Iterator[Family]:
        looks = self._looks
        if looks.ledger is not None:
            yield family(metrics.OUTBOX, [((), looks.ledger.unsaid)])
            yield family(metrics.QUARANTINED, [((), looks.ledger.quarantined)])
            yield family(metrics.TICKETS_OPEN, [((), looks.ledger.tickets)])
            if looks.ledger.behind is not None:
                yield family(metrics.REPLICA_DELAY_S, [((), looks.ledger.behind.seconds)])
                yield family(metrics.REPLICA_DELAY_BYTES, [((), looks.ledger.behind.num_bytes)])
        if looks.books is not None:
            yield family(metrics.BOOKS_DIFFERENCES, [((kind,), n) for kind, n in looks.books.differences.items()])
            yield family(metrics.BOOKS_CHECKED, [((), looks.books.at_s)])

    def _scaling(self) -> Iterator[Family]:
        looks, scaler = self._looks, self._scaler
        roles = Tally(told.role for told in looks.workers if told.role is not None)
        yield family(metrics.WORKERS_SEEN, [((role,), count) for role, count in roles.items()])
        advice, sight, role = scaler.advice, scaler.sight, (scaler.role,)
        if advice is None or sight is None:
            return
        yield family(metrics.DESIRED, [(role, advice.desired)])
        yield family(metrics.HELD_BACK, [(role, float(advice.held_back))])
        yield family(metrics.DRAIN_S, [(role, advice.drain_s)])
        if sight.replicas is not None:
            yield family(metrics.REPLICAS, [(role, sight.replicas)])
