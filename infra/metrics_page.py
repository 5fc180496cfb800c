"""The page of metrics, made from the list that declares them."""

from collections.abc import Iterable

from streams.metrics import ALL, Metric, Teller

_HEAD = """# Metrics

Made from `streams/metrics.py` by `floodway schema`.

Every process serves `/metrics` (Prometheus' text, or OpenMetrics for who accepts it) and, beside it, `/livez` and
`/readyz`. Workers take any free port of 127.0.0.1 unless `FLOODWAY_METRICS_PORT` and `FLOODWAY_METRICS_HOST` name one,
and say where they are. Beside what is listed all of them tell `process_…` (CPU, memory, open files) and `python_…`.
Label values are few and known beforehand: no order, SKU or buyer is in any.
"""
_TITLES = {
    Teller.WORKER: "Workers\n\nOf `floodway worker`. Counted once a chunk or batch; what it costs an order is measured "
    "with all the rest, in `tests/perf/test_cost_per_order.py`.",
    Teller.EXPORTER: "The exporter\n\nOf `floodway exporter`, once for each installation. It asks Kafka, Redis and "
    "Postgres itself and needs no worker alive. What could not be asked is not told, rather than told as it was.",
    Teller.FRONT: "The HTTP front\n\nOf each process of `floodway http`.",
}


def metrics_page() -> str:
    """The page as Markdown, one row a metric, in the order of their declaration."""
    tellers = [(teller, [metric for metric in ALL if metric.teller is teller]) for teller in Teller]
    return _HEAD + "".join(f"\n## {_TITLES[teller]}\n\n{_table(told)}" for teller, told in tellers if told)


def _table(told: Iterable[Metric]) -> str:
    rows = "\n".join(f"| `{m.name}` | {m.kind} | {_labels(m)} | {m.help} |" for m in told)
    return f"| metric | type | labels | what it tells |\n|---|---|---|---|\n{rows}\n"


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)
