"""One frame of `floodway top`: figures to the right, one line each, a colour only where something needs attention."""

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from agents.ops.attention import NAMES, Level, Note, notes
from agents.ops.course import Point
from agents.ops.view import Aside, Store, View, Worker
from infra.cli.figures import UNKNOWN, bar, clock, count, resampled, seconds, share, size, sparkline

SPAN_S = 180.0
"""What the lines of blocks show."""
GAP = 4
"""Between tables that stand beside each other, where there is room for both."""
NARROW = 88
"""With fewer columns, what matters least of workers is left out."""
MOST_ROWS = 8
QUIET = "dim"
STYLES = {Level.BAD: "bold red", Level.LOOK: "yellow", Level.MISSING: "default"}
MARKS = {Level.BAD: "●", Level.LOOK: "●", Level.MISSING: "○"}


def frame(seen: View, points: Sequence[Point], width: int, *, hint: str = "") -> RenderableType:
    """All of it, the most important first: a terminal that is too low loses the end."""
    workers, stores, pools, stages = _workers(seen, width), _stores(seen), _pools(seen), _stages(seen)
    parts: list[RenderableType] = [_head(seen, hint), _notes(notes(seen)), _course(seen, points, width)]
    pairs = ((workers, stores), (pools, stages))
    if all(sum(map(_width, pair)) + GAP <= width for pair in pairs):
        parts += [_beside(workers, stores), Text(), _beside(pools, stages)]
    else:
        parts += [workers, Text(), stores, Text(), pools, Text(), stages]
    return Group(*parts, Text(), _aside(seen.aside))


def _head(seen: View, hint: str) -> RenderableType:
    line = Table.grid(expand=True)
    line.add_column(no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    title = Text("Floodway", style="bold").append(f"   {clock(seen.at)}", style="not bold")
    line.add_row(title, Text(hint, style=QUIET))
    return line


def _notes(found: Sequence[Note]) -> RenderableType:
    """What needs attention; a blank line in any case."""
    lines = Table.grid(padding=(0, 1))
    for note in found:
        style = STYLES[note.level]
        lines.add_row(Text(MARKS[note.level], style=style), Text(note.words, style=style))
    return Group(Text(), lines, Text()) if found else Text()


def _course(seen: View, points: Sequence[Point], width: int) -> RenderableType:
    flow, lag = seen.flow, seen.lag("intake")
    cells = max(10, min(60, width - 62))
    blocks = Table.grid(padding=(0, 2))
    blocks.add_column(no_wrap=True, style=QUIET)
    blocks.add_column(justify="right", no_wrap=True, min_width=8, style="bold")
    blocks.add_column(no_wrap=True, min_width=8, style=QUIET)
    blocks.add_column(no_wrap=True, min_width=cells)
    blocks.add_column(no_wrap=True, style=QUIET, overflow="ellipsis")

    def add(name: str, figure: str, unit: str, of: Callable[[Point], float | None], words: str = "") -> None:
        line = sparkline(resampled(((p.at, of(p)) for p in points), seen.at, SPAN_S, cells))
        blocks.add_row(name, figure, unit, line, words)

    add("Arriving", count(flow.arriving), "orders/s", lambda p: p.arriving)
    add("Decided", count(flow.decided), "orders/s", lambda p: p.decided, _outcomes(seen))
    gone = ""
    if lag is not None and lag.records and lag.drain_s is not None:
        gone = "does not shrink" if lag.drain_s == float("inf") else f"gone in {seconds(lag.drain_s)}"
    add("Lag", count(None if lag is None else lag.records), "orders", lambda p: p.lag, gone)
    add("Oldest waiting", *_split(seconds(None if lag is None else lag.oldest_s)), lambda p: p.oldest_s)
    add("Latency p50", *_split(seconds(seen.p50_s)), lambda p: p.p50_s)
    add("Latency p99", *_split(seconds(seen.p99_s)), lambda p: p.p99_s)
    blocks.add_row("", "", "", Text(f"last {SPAN_S / 60:g} min", style=QUIET), "")
    return Group(blocks, Text())


def _outcomes(seen: View) -> str:
    flow = seen.flow
    parts = [("accepted", flow.accepted), ("rejected", flow.rejected), ("repeated", flow.repeated)]
    told = [f"{count(value)} {name}" for name, value in parts if value]
    return " · ".join(told)


def _split(text: str) -> tuple[str, str]:
    figure, _, unit = text.partition(" ")
    return figure, unit


def _workers(seen: View, width: int) -> Table:
    """A narrow terminal does without what matters least."""
    spare = () if width < NARROW else ("CPU", "memory", "committed")
    made = _table("Workers", "parts", "records/s", "in flight", *spare, "breakers")
    for worker in seen.workers[:MOST_ROWS]:
        made.add_row(
            f"{worker.role} {urlsplit(worker.url).netloc.removeprefix('127.0.0.1')}",
            count(worker.partitions),
            count(worker.per_s),
            count(worker.in_flight),
            *_spare(worker)[: len(spare)],
            _breakers_of(worker),
        )
    _rest(made, len(seen.workers))
    if not seen.workers:
        made.add_row(Text("none to be seen", style=QUIET))
    return made


def _spare(worker: Worker) -> tuple[str, str, str]:
    committed = UNKNOWN if worker.commit_age_s is None else f"{seconds(worker.commit_age_s)} ago"
    return share(worker.cpu_ratio), size(worker.memory_bytes), committed


def _breakers_of(worker: Worker) -> Text:
    if not worker.breakers:
        return Text("closed", style=QUIET)
    said = ", ".join(f"{name} {state.replace('_', ' ')}" for name, state in sorted(worker.breakers.items()))
    return Text(said, style=STYLES[Level.BAD if "open" in worker.breakers.values() else Level.LOOK])


def _stores(seen: View) -> Table:
    made = _table("Stores", "answers in", "breakers", "")
    for store in seen.stores:
        if store.is_up is False:
            answers = Text("does not answer", style=STYLES[Level.BAD])
        else:
            answers = Text(seconds(store.probe_s))
        made.add_row(NAMES[store.name], answers, _states(store), Text(_more(store.name, seen.aside), style=QUIET))
    return made


def _more(store: str, aside: Aside) -> str:
    if store == "redis" and aside.redis_memory_bytes is not None:
        return f"{size(aside.redis_memory_bytes)}, {share(aside.redis_cpu_ratio)} of a core"
    if store == "postgres" and aside.replica_delay_s is not None:
        return f"replica {seconds(aside.replica_delay_s)} behind" if aside.replica_delay_s else "replica up to date"
    return ""


def _states(store: Store) -> Text:
    if not store.breakers:
        return Text(UNKNOWN, style=QUIET)
    said = Text()
    for state, style in (("closed", QUIET), ("half_open", STYLES[Level.LOOK]), ("open", STYLES[Level.BAD])):
        if number := store.breakers.get(state, 0):
            said.append(f"{', ' if said else ''}{number} {state.replace('_', ' ')}", style=style)
    return said


def _pools(seen: View) -> Table:
    made = _table("Pools", "free", "held", "sold", "SKUs", "low", "out", "")
    for pool in seen.pools[:MOST_ROWS]:
        figures = (pool.free, pool.held, pool.sold, pool.skus, pool.low, pool.out)
        left = Text(bar(pool.free, pool.free + pool.held + pool.sold, 10), style=QUIET)
        made.add_row(pool.name, *map(count, figures), left)
    _rest(made, len(seen.pools))
    if not seen.pools:
        made.add_row(Text(_no_pools(seen), style=QUIET))
    return made


def _no_pools(seen: View) -> str:
    if not seen.has_exporter:
        return "not known without the exporter"
    is_up = next(store.is_up for store in seen.stores if store.name == "redis")
    return "no stock yet" if is_up else "not known while Redis does not answer"


def _stages(seen: View) -> Table:
    made = _table("Stages", "mean", "p99")
    for stage in seen.stages:
        made.add_row(stage.name, seconds(stage.mean_s), seconds(stage.p99_s))
    return made


def _aside(aside: Aside) -> RenderableType:
    books = UNKNOWN
    if aside.books_differences is not None:
        agree = "agree" if not aside.books_differences else f"differ in {count(aside.books_differences)} places"
        books = f"{agree}, looked at {seconds(aside.books_age_s)} ago"
    parts = [
        ("dead letters", count(aside.dead_letters)),
        ("under review", count(aside.under_review)),
        ("quarantined", count(aside.quarantined)),
        ("tickets", count(aside.tickets)),
        ("outbox", count(aside.outbox)),
        ("books", books),
    ]
    line = Text()
    for name, told in parts:
        line.append(f"{'   ' if line else ''}{name} ", style=QUIET).append(told)
    return line


def _table(*columns: str) -> Table:
    made = Table(box=None, padding=(0, 2, 0, 0), header_style=QUIET, pad_edge=False)
    made.add_column(columns[0], no_wrap=True, header_style="bold", overflow="ellipsis")
    for column in columns[1:]:
        made.add_column(column, no_wrap=True, justify="left" if column in {"breakers", ""} else "right")
    return made


def _rest(made: Table, rows: int) -> None:
    """Tell how many rows there was no room for."""
    if rows > MOST_ROWS:
        made.add_row(Text(f"and {rows - MOST_ROWS:,} more", style=QUIET))


def _width(table: Table) -> int:
    console = Console(width=1_000)
    return Measurement.get(console, console.options, table).maximum


def _beside(left: Table, right: Table) -> Table:
    made = Table.grid(expand=False, padding=(0, GAP, 0, 0))
    made.add_row(left, right)
    return made
