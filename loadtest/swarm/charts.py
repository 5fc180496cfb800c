"""The page of a run: rate, decisions by reason, lag, latency, failures and shelves over time, and the figures."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from html import escape

from loadtest.page import COLOURS, Line, chart, document, table
from loadtest.swarm.course import Told
from loadtest.swarm.report import figures
from loadtest.swarm.verdict import Verdict

REFRESH_S = 2


def charts(found: Verdict, moments: Sequence[Told]) -> str:
    """The page of a run that has ended."""
    title = f"{found.scenario}: {found.decided:,} orders"
    if found.passed:
        words = '<p class="good">All came out as planned, and the books balance.</p>'
    else:
        words = "".join(f'<p class="bad">{escape(failure)}</p>' for failure in found.failures)
    books = [(name, f"{count:,}") for name, count in found.books.items() if isinstance(count, int)]
    body = [f"<h1>{escape(title)}</h1>", words, *drawn(moments), "<h2>Figures</h2><div class=tables>"]
    return document(title, [*body, table(("", ""), figures(found)), table(("books", ""), books), "</div>"])


def live(scenario: str, moments: Sequence[Told]) -> str:
    """The page of a run that is under way; it loads itself again every two seconds."""
    title = f"{scenario}, so far"
    head = f'<meta http-equiv="refresh" content="{REFRESH_S}">'
    return document(title, [f"<h1>{escape(title)}</h1>", *drawn(moments)], head=head)


def drawn(moments: Sequence[Told]) -> list[str]:
    """All charts of these seconds."""
    outcomes = Counter[str]()
    for moment in moments:
        outcomes.update(moment.outcomes)
    names = [name for name, _ in outcomes.most_common(len(COLOURS))]
    reasons = [Line(name, c, partial(_outcome, name=name)) for name, c in zip(names, COLOURS, strict=False)]
    parts = [
        chart("Orders in each second", [Line("sent", "a", _sent), Line("decided", "b", _decided)], moments),
        chart("Decisions in each second, by reason", reasons, moments),
        chart("Lag: orders sent, not yet decided", [Line("waiting", "a", _lag, filled=True)], moments),
        chart("Latency from the intended time, ms", [Line("p50", "a", _p50), Line("p99", "b", _p99)], moments),
    ]
    if any(moment.failed for moment in moments):
        parts.append(chart("Failures in each second", [Line("failed", "f", _failed)], moments))
    return parts + _shelves(moments)


def _shelves(moments: Sequence[Told]) -> list[str]:
    """A chart for each kind of pool that ever had anything in it."""
    found = []
    for pool in ("main", "promotions"):
        if any(sum(moment.pools.get(pool, {}).values()) for moment in moments):
            accounts = [
                Line(account, colour, partial(_units, pool=pool, account=account))
                for account, colour in (("free", "c"), ("held", "a"), ("sold", "b"))
            ]
            found.append(chart(f"Units on the shelves, {pool}", accounts, moments))
    return found


def _outcome(moment: Told, name: str) -> float | None:
    return moment.outcomes.get(name, 0)


def _units(moment: Told, pool: str, account: str) -> float | None:
    return moment.pools[pool].get(account, 0) if pool in moment.pools else None


def _sent(moment: Told) -> float | None:
    return moment.sent


def _decided(moment: Told) -> float | None:
    return moment.decided


def _lag(moment: Told) -> float | None:
    return moment.lag


def _failed(moment: Told) -> float | None:
    return moment.failed


def _p50(moment: Told) -> float | None:
    return moment.p50_ms if moment.decided else None


def _p99(moment: Told) -> float | None:
    return moment.p99_ms if moment.decided else None
