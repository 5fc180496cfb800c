"""Pages of surges: charts as inline SVG and the figures, light and dark, with no resource from elsewhere."""

from collections.abc import Callable, Sequence
from html import escape
from math import floor, log10
from typing import Generic, NamedTuple, TypeVar

from loadtest.outcome import Moment, SurgeReport

WIDTH, HEIGHT = 900, 230
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 12, 26
TICKS = 4
COLOURS = "abcdefgh"
"""Names of the colours that curves may have."""

M = TypeVar("M", bound=Moment)

_STYLE = """
:root { color-scheme: light dark; --ink: #1e293b; --dim: #64748b; --rule: #e2e8f0; --back: #ffffff; --a: #1f6feb;
  --b: #c2610c; --c: #0f766e; --d: #a21caf; --e: #4d7c0f; --f: #b91c1c; --g: #6d28d9; --h: #64748b;
  --good: #15803d; --bad: #b91c1c }
@media (prefers-color-scheme: dark) { :root { --ink: #e2e8f0; --dim: #94a3b8; --rule: #334155; --back: #0f172a;
  --a: #60a5fa; --b: #fb923c; --c: #2dd4bf; --d: #e879f9; --e: #a3e635; --f: #f87171; --g: #a78bfa; --h: #94a3b8;
  --good: #4ade80; --bad: #f87171 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 940px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.35rem; margin: 0 } h2 { font-size: 1rem; margin: 1.6rem 0 .2rem } p { margin: .3rem 0 }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--dim); font-size: 12px }
.rule { stroke: var(--rule) }
$colours
.line { fill: none; stroke-width: 2; stroke-linejoin: round } .area { stroke: none; opacity: .18 } .dot { stroke: none }
.hit { fill: transparent } .hit:hover { fill: var(--dim); opacity: .15 }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em 0 .8em }
.tables { display: flex; flex-wrap: wrap; gap: 0 3rem; align-items: flex-start }
table { border-collapse: collapse; margin: .4rem 0 } td, th { padding: .15rem .8rem .15rem 0; text-align: left;
  border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums; font-weight: normal }
th { color: var(--dim) }
td.number, th.number { text-align: right } .good { color: var(--good) } .bad { color: var(--bad) }
""".replace(
    "$colours",
    "\n".join(
        f".{c} {{ stroke: var(--{c}); fill: var(--{c}) }} .key.{c} {{ background: var(--{c}) }}" for c in COLOURS
    ),
)


class Line(NamedTuple, Generic[M]):
    """One curve: its name, its colour (of `COLOURS`), and what it shows of a moment; None is a gap."""

    name: str
    colour: str
    value: Callable[[M], float | None]
    filled: bool = False


def page(report: SurgeReport, *, title: str, rows: Sequence[tuple[str, str]]) -> str:
    """The whole page, in HTML."""
    verdict = "All came out as planned, and the books balance."
    words = "".join(f'<p class="bad">{escape(failure)}</p>' for failure in report.failures())
    costs = [
        (role.replace("_", " "), f"{us:,.2f}", f"{report.peak_rss_mb[role]:,.0f}" if role in report.peak_rss_mb else "")
        for role, us in report.cpu_us_per_order.items()
    ]
    charts = (
        ("Orders in each second", [Line("sent", "a", _sent), Line("decided", "b", _decided)]),
        ("Orders that wait: sent, not yet decided", [Line("waiting", "a", _lag, filled=True)]),
        ("Latency from the intended time, ms", [Line("p50", "a", _p50), Line("p99", "b", _p99)]),
    )
    body = [
        f"<h1>{escape(title)}</h1>",
        words or f'<p class="good">{verdict}</p>',
        *(chart(heading, lines, report.moments) for heading, lines in charts),
        "<h2>Figures</h2><div class=tables>",
        table(("", ""), rows),
        table(("process", "CPU, µs per order", "peak memory, MB"), costs) if costs else "",
        "</div>",
    ]
    return document(title, body)


def document(title: str, body: Sequence[str], *, head: str = "") -> str:
    """A whole page of these parts, which are HTML already."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>{head}'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def nice_ticks(top: float) -> list[float]:
    """Round numbers from 0 to at least `top`, some four of them."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    ticks = [0.0]
    while ticks[-1] < top:
        ticks.append(len(ticks) * step)
    return ticks


def chart(heading: str, lines: Sequence[Line[M]], moments: Sequence[M]) -> str:
    """One chart under its heading, with a curve for each line and every second's values to whoever points at it."""
    values = [value for line in lines for m in moments if (value := line.value(m)) is not None]
    ticks = nice_ticks(max(values, default=0.0))
    last = max(1, len(moments) - 1)

    def x(at_s: float) -> float:
        return LEFT + at_s / last * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (1 - value / ticks[-1]) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks:
        label = f"{tick:,.0f}" if ticks[1] >= 1 else f"{tick:g}"
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{label}</text>')
    for tick in nice_ticks(last):
        if tick <= last:
            parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{tick:g} s</text>')
    for line in lines:
        for run in _runs(line, moments):
            parts.append(_curve(line, [(x(at_s), y(value)) for at_s, value in run], y(0)))
    parts += [_hit(m, lines, x(m.at_s), (WIDTH - LEFT - RIGHT) / last) for m in moments]
    keys = "".join(f'<span class="key {line.colour}"></span>{line.name}' for line in lines)
    drawn = "".join(parts)
    return f'<h2>{escape(heading)} {keys}</h2><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{drawn}</svg>'


def _runs(line: Line[M], moments: Sequence[M]) -> list[list[tuple[int, float]]]:
    """The stretches of a curve between its gaps."""
    runs: list[list[tuple[int, float]]] = [[]]
    for moment in moments:
        value = line.value(moment)
        if value is None:
            runs.append([])
        else:
            runs[-1].append((moment.at_s, value))
    return [run for run in runs if run]


def _curve(line: Line[M], points: Sequence[tuple[float, float]], ground: float) -> str:
    if len(points) == 1:
        return f'<circle class="{line.colour} dot" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3"/>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = f'<polyline class="{line.colour} line" points="{path}"/>'
    if line.filled:
        corners = f"{points[0][0]:.1f},{ground:.1f} {path} {points[-1][0]:.1f},{ground:.1f}"
        drawn = f'<polygon class="{line.colour} area" points="{corners}"/>' + drawn
    return drawn


def _hit(moment: M, lines: Sequence[Line[M]], x: float, width: float) -> str:
    """An area that tells its second's values to who points at it."""
    said = [f"{line.name} {value:,.0f}" for line in lines if (value := line.value(moment)) is not None]
    left = max(float(LEFT), x - width / 2)
    right = min(float(WIDTH - RIGHT), x + width / 2)
    box = f'x="{left:.1f}" y="{TOP}" width="{max(0.0, right - left):.1f}" height="{HEIGHT - TOP - BOTTOM}"'
    return f'<rect class="hit" {box}><title>{moment.at_s} s: {", ".join(said)}</title></rect>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all but the first column are numbers."""

    def row(cells: Sequence[str], tag: str) -> str:
        first, *rest = (escape(cell) for cell in cells)
        return f"<tr><{tag}>{first}</{tag}>{''.join(f'<{tag} class=number>{cell}</{tag}>' for cell in rest)}</tr>"

    heading = row(head, "th") if any(head) else ""
    return f"<table>{heading}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _sent(moment: Moment) -> float | None:
    return moment.sent


def _decided(moment: Moment) -> float | None:
    return moment.decided


def _lag(moment: Moment) -> float | None:
    return moment.lag


def _p50(moment: Moment) -> float | None:
    return moment.p50_ms if moment.decided else None


def _p99(moment: Moment) -> float | None:
    return moment.p99_ms if moment.decided else None
