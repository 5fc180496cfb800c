"""A verdict in words, for a terminal and for the page."""

from loadtest.swarm.verdict import Verdict


def figures(found: Verdict) -> list[tuple[str, str]]:
    """What a run came to, as names and values."""
    rows = [("orders sent, decided", f"{found.sent:,}  {found.decided:,}"), ("seconds", f"{found.seconds:,.1f}")]
    rows.append(("orders/s, first intended to last decided", _against(found.per_s, found.target_per_s)))
    peak = _against(found.peak_per_s, found.target_peak_per_s)
    rows.append((f"orders/s at the peak, over {found.peak_s} s", peak))
    if found.produce_ms["max"]:
        rows.append(("PRODUCE acknowledged, ms: p50 p99 max", _latencies(found.produce_ms)))
    rows.append(("DECISION arrived, ms: p50 p99 max", _latencies(found.decision_ms)))
    rows.append(("  but for a second after each leap", _latencies(found.decision_calm_ms)))
    rows.append(("sent late by at most, ms", f"{found.late_ms_max:,.0f}"))
    rows.append(("CPU of storefronts, us per order", f"{found.cpu_us_per_order:,.1f}"))
    rows += [(name, f"{count:,}") for name, count in found.outcomes.items()]
    rows.append(("timed out, not produced", f"{found.timed_out:,}  {found.unproduced:,}"))
    return rows


def lines(found: Verdict) -> list[str]:
    """A run in lines of text."""
    rows = [("scenario", found.scenario), *figures(found)]
    text = [f"{name:<42} {value}" for name, value in rows]
    return [*text, "All came out as planned, and the books balance." if found.passed else "The run failed."]


def _against(got: float, wanted: float | None) -> str:
    return f"{got:,.0f}" if wanted is None else f"{got:,.0f} of {wanted:,.0f} ({got / wanted:.0%})"


def _latencies(found: dict[str, float]) -> str:
    return "  ".join(f"{found[name]:,.0f}" for name in ("p50", "p99", "max"))
