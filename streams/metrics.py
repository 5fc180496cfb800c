"""Every metric there is: name, kind, labels, what it tells, and which process tells it.

Nothing is measured that is not declared here; `docs/metrics.md` is made from this list. Names follow Prometheus' rules
(units in the name, counters end in `_total`), and those that others have already are theirs: `kafka_consumergroup_…` as
in kafka_exporter, `process_…` and `python_…` as in the Prometheus client. Label values are few, and known beforehand.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What Prometheus calls the type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Teller(StrEnum):
    """The processes that have a `/metrics`."""

    WORKER = "worker"
    EXPORTER = "exporter"
    FRONT = "front"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `buckets` are the upper bounds of a histogram, without the last, which is infinite."""

    name: str
    kind: Kind
    teller: Teller
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LATENCY_BUCKETS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0),
)
SYNC_BUCKETS_S = (
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 84.0, 120.0),
    *(300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0),
)
"""84 s is what the mean is to stay under."""
SIZE_BUCKETS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_000.0, 4_000.0)

ALL: list[Metric] = []


def _declare(
    teller: Teller, kind: Kind, name: str, words: str, labels: str = "", buckets: tuple[float, ...] = ()
) -> Metric:
    metric = Metric(name, kind, teller, words, tuple(labels.split()), buckets)
    assert all(metric.name != other.name for other in ALL), f"{name} is declared twice"
    assert (kind is Kind.COUNTER) == name.endswith("_total"), f"{name}: counters, and only they, end in _total"
    ALL.append(metric)
    return metric


def _worker(kind: Kind, name: str, words: str, labels: str = "", buckets: tuple[float, ...] = ()) -> Metric:
    return _declare(Teller.WORKER, kind, name, words, labels, buckets)


def _exporter(kind: Kind, name: str, words: str, labels: str = "") -> Metric:
    return _declare(Teller.EXPORTER, kind, name, words, labels)


# --- workers ---------------------------------------------------------------------------------------------------------

WORKER_INFO = _worker(Kind.GAUGE, "floodway_worker_info", "1; its labels tell who it is.", "role version")
PARTITIONS = _worker(Kind.GAUGE, "floodway_worker_partitions", "Partitions that this worker has.", "topic")
IN_FLIGHT = _worker(
    Kind.GAUGE, "floodway_worker_in_flight_records", "Records taken from Kafka whose offsets cannot be committed yet."
)
LAST_COMMIT = _worker(
    Kind.GAUGE,
    "floodway_worker_last_commit_timestamp_seconds",
    "When this worker last committed an offset, in seconds since 1970; 0 before the first time.",
)
COMMITS = _worker(Kind.COUNTER, "floodway_worker_commits_total", "Commits of offsets that went through.")
REBALANCES = _worker(Kind.COUNTER, "floodway_worker_rebalances_total", "How often partitions were dealt out anew.")
RETURNED = _worker(
    Kind.COUNTER, "floodway_worker_chunks_returned_total", "Chunks taken back by a rebalance before they were done."
)
LOOP_DELAY = _worker(
    Kind.GAUGE, "floodway_worker_loop_delay_seconds", "How late the event loop was at its last look, once a second."
)
RECORDS = _worker(Kind.COUNTER, "floodway_records_total", "Records handed to the stages.", "topic")
CHUNK_RECORDS = _worker(
    Kind.HISTOGRAM, "floodway_chunk_records", "Records in a chunk, that is in one fetch of a partition.", "topic",
    SIZE_BUCKETS,
)  # fmt: skip
BATCH_ORDERS = _worker(
    Kind.HISTOGRAM, "floodway_batch_orders", "Submissions that shared round trips.", "", SIZE_BUCKETS
)
STAGE_S = _worker(
    Kind.HISTOGRAM,
    "floodway_stage_duration_seconds",
    "How long a stage took with a batch, waiting for its store included. decode, reserve, persist and announce are "
    "intake's; read, apply, tell, expire, and lifecycle for all of a chunk, are lifecycle's.",
    "stage",
    STAGE_BUCKETS_S,
)
LATENCY_S = _worker(
    Kind.HISTOGRAM,
    "floodway_decision_latency_seconds",
    "From a submission's timestamp in Kafka to its decision's acknowledgement by Kafka. All records of a chunk count "
    "with the age of its first, so none is told as faster than it was.",
    "",
    LATENCY_BUCKETS_S,
)
DECISIONS = _worker(
    Kind.COUNTER,
    "floodway_decisions_total",
    "Decisions announced. `reason` is empty for accepted ones; `replay` is true for a first decision told again.",
    "outcome reason replay",
)
REPORTS = _worker(Kind.COUNTER, "floodway_reports_total", "Reports on orders that were read and understood.", "type")
SYNC_DELAY_S = _worker(
    Kind.HISTOGRAM,
    "floodway_sync_delay_seconds",
    "From the time that a source gives to what it reports to the announcement of what changed by it. Sources without "
    "a mapping are `other`; what was reported before counts once.",
    "source",
    SYNC_BUCKETS_S,
)
DELIVERIES = _worker(
    Kind.COUNTER,
    "floodway_deliveries_total",
    "Messages to people, by the target of notify.toml: delivered, or given up (failed).",
    "target outcome",
)
EXPIRED = _worker(Kind.COUNTER, "floodway_holds_expired_total", "Holds that ended because their time was up.")
WATCH_LOOKED = _worker(
    Kind.GAUGE,
    "floodway_watch_last_look_timestamp_seconds",
    "When the watch last looked at everything, in seconds since 1970; 0 before the first time.",
)
DEAD_LETTERS = _worker(
    Kind.COUNTER, "floodway_dead_letters_total", "Records buried, by the topic they came from.", "topic reason"
)
PUT_ASIDE = _worker(
    Kind.COUNTER, "floodway_put_aside_total", "Submissions put under review because a store was away for too long."
)
RETRIES = _worker(Kind.COUNTER, "floodway_retries_total", "Tries of a call after a first one met an outage.", "call")
FENCED = _worker(
    Kind.COUNTER,
    "floodway_fenced_total",
    "Calls that were refused because the stock, or the books, are under another epoch than ours.",
)
BREAKER_STATE = _worker(
    Kind.GAUGE,
    "floodway_breaker_state",
    "1 for the state that the breaker around a dependency (redis, postgres, kafka) is in: closed, open or half_open.",
    "dependency state",
)
BREAKER_OPENED = _worker(Kind.COUNTER, "floodway_breaker_opened_total", "How often a breaker has opened.", "dependency")

# --- the exporter ----------------------------------------------------------------------------------------------------

LAG = _exporter(
    Kind.GAUGE,
    "kafka_consumergroup_lag",
    "Records behind the group's committed offset; the last offset that a transaction's marker takes is none.",
    "consumergroup topic partition",
)
LAG_SUM = _exporter(Kind.GAUGE, "kafka_consumergroup_lag_sum", "The same over all partitions.", "consumergroup topic")
LAG_S = _exporter(
    Kind.GAUGE,
    "kafka_consumergroup_lag_seconds",
    "Age of the first record that is not committed, by its timestamp; 0 without lag.",
    "consumergroup topic partition",
)
COMMITTED = _exporter(
    Kind.GAUGE,
    "kafka_consumergroup_current_offset",
    "The group's committed offset.",
    "consumergroup topic partition",
)
MEMBERS = _exporter(Kind.GAUGE, "kafka_consumergroup_members", "Members of the group.", "consumergroup")
END = _exporter(Kind.GAUGE, "kafka_topic_partition_current_offset", "Behind the last record.", "topic partition")
OLDEST = _exporter(
    Kind.GAUGE, "kafka_topic_partition_oldest_offset", "The first offset that is kept.", "topic partition"
)
COMMIT_AGE = _exporter(
    Kind.GAUGE,
    "floodway_commit_age_seconds",
    "How long the group has lag and has committed nothing; 0 while it has none. From outside, so it also tells of "
    "workers that are dead. Stuck commits are those where this grows.",
    "consumergroup topic",
)
DEAD_LETTERS_KEPT = _exporter(
    Kind.GAUGE, "floodway_dead_letters", "Dead letters that are kept in a topic, replayed ones too.", "topic"
)
UNDER_REVIEW = _exporter(Kind.GAUGE, "floodway_under_review", "Submissions under review that are not decided yet.")
EPOCH = _exporter(
    Kind.GAUGE, "floodway_epoch", "The epoch that a store carries; none is told while it has none.", "store"
)
EPOCH_MISMATCH = _exporter(
    Kind.GAUGE,
    "floodway_epoch_mismatch",
    "1 while stock and books do not agree on the epoch, or the stock has lost its memory: nothing is decided then.",
)
STOCK_UNITS = _exporter(
    Kind.GAUGE,
    "floodway_stock_units",
    "Units over all SKUs of a pool, by account: free, held or sold. `main`, the promotions with the most free units, "
    "and the rest of them as `promo:*`.",
    "pool account",
)
STOCK_SKUS = _exporter(Kind.GAUGE, "floodway_stock_skus", "SKUs of a pool.", "pool")
STOCK_SKUS_LOW = _exporter(
    Kind.GAUGE,
    "floodway_stock_skus_low",
    "SKUs of a pool with fewer free units than FLOODWAY_EXPORTER_LOW_UNITS, but for those without any.",
    "pool",
)
STOCK_SKUS_OUT = _exporter(Kind.GAUGE, "floodway_stock_skus_out", "SKUs of a pool without a free unit.", "pool")
BOOKS_DIFFERENCES = _exporter(
    Kind.GAUGE,
    "floodway_books_differences",
    "In how many places Redis and the books differed steadily at the last stocktake: pools, lost and leaked holds.",
    "kind",
)
BOOKS_CHECKED = _exporter(
    Kind.GAUGE,
    "floodway_books_checked_timestamp_seconds",
    "When the last stocktake ended, in seconds since 1970; see FLOODWAY_EXPORTER_BOOKS_INTERVAL_S.",
)
REPLICA_DELAY_S = _exporter(
    Kind.GAUGE,
    "floodway_replica_delay_seconds",
    "Age of the newest commit that the replica shows, 0 when it has all that the primary has written.",
)
REPLICA_DELAY_BYTES = _exporter(
    Kind.GAUGE, "floodway_replica_delay_bytes", "What the primary has written and the replica does not show yet."
)
OUTBOX = _exporter(Kind.GAUGE, "floodway_outbox_batches", "Batches of messages in the outbox, not yet sent.")
QUARANTINED = _exporter(
    Kind.GAUGE, "floodway_quarantined_records", "Reports that wait for their order, or for a mapping."
)
TICKETS_OPEN = _exporter(Kind.GAUGE, "floodway_tickets_open", "Tickets that people have not closed.")
DEDUPE_KEYS = _exporter(
    Kind.GAUGE, "floodway_dedupe_keys", "Submissions that Redis remembers, by generation.", "generation"
)
DEDUPE_BYTES = _exporter(
    Kind.GAUGE, "floodway_dedupe_bytes", "What remembering them takes, as Redis estimates it.", "generation"
)
REDIS_MEMORY = _exporter(Kind.GAUGE, "floodway_redis_memory_bytes", "Memory that Redis has in use.")
REDIS_CPU = _exporter(
    Kind.GAUGE, "floodway_redis_cpu_ratio", "Share of a core that Redis used since the last look; it has but one."
)
STORE_PROBE_S = _exporter(
    Kind.GAUGE,
    "floodway_store_probe_seconds",
    "How long the smallest call took just now: a PING to redis, a SELECT 1 to postgres, one for offsets to kafka.",
    "store",
)
STORE_UP = _exporter(
    Kind.GAUGE, "floodway_store_up", "1 when a store answered the exporter at its last look, else 0.", "store"
)
WORKERS_SEEN = _exporter(
    Kind.GAUGE, "floodway_workers", "Workers whose /metrics the exporter could read at its last look.", "role"
)
LAG_LOOKED = _exporter(
    Kind.GAUGE,
    "floodway_lag_looked_timestamp_seconds",
    "When offsets and lag were looked at, in seconds since 1970: rates between two looks go by it.",
)
ARRIVING = _exporter(
    Kind.GAUGE, "floodway_arriving_per_second", "Records appended to a topic, over the last looks.", "topic"
)
COMMITTING = _exporter(
    Kind.GAUGE,
    "floodway_committing_per_second",
    "Records that the group committed, over the last looks.",
    "consumergroup topic",
)
DRAIN_S = _exporter(
    Kind.GAUGE,
    "floodway_drain_seconds",
    "When the lag is gone if all goes on as now; infinite while it does not shrink.",
    "role",
)
DESIRED = _exporter(Kind.GAUGE, "floodway_autoscale_desired_replicas", "Workers there should be.", "role")
REPLICAS = _exporter(Kind.GAUGE, "floodway_autoscale_replicas", "Workers there are.", "role")
HELD_BACK = _exporter(
    Kind.GAUGE,
    "floodway_autoscale_held_back",
    "1 while the lag asks for more workers and they would not help, or nothing is known.",
    "role",
)

# --- the HTTP front --------------------------------------------------------------------------------------------------

HTTP_REQUESTS = _declare(
    Teller.FRONT,
    Kind.COUNTER,
    "floodway_http_requests_total",
    "Requests answered. `route` is the pattern of a path, `none` for one that is not there.",
    "route method status",
)
HTTP_TOOK_S = _declare(
    Teller.FRONT,
    Kind.HISTOGRAM,
    "floodway_http_request_duration_seconds",
    "From a request's head to its answer's first byte; waiting for a decision included, where that was asked for.",
    "route",
    LATENCY_BUCKETS_S,
)
HTTP_IN_HAND = _declare(
    Teller.FRONT,
    Kind.GAUGE,
    "floodway_http_requests_in_hand",
    "Requests being answered; those that wait are not in it.",
)
HTTP_BACKLOG = _declare(
    Teller.FRONT, Kind.GAUGE, "floodway_http_backlog_bytes", "Orders handed to Kafka and not confirmed yet."
)
