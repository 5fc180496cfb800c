"""A surge over time as pictures: `surge.png`, and `surge.html` that needs nothing but itself."""

from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.outcome import Moment, SurgeReport
from loadtest.page import page
from streams.errors import Refused

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GRAY = "#1f6feb", "#d97706", "#64748b"
INCHES = (10.0, 8.0)
DPI = 120


def check() -> None:
    """Raise `Refused` when matplotlib is not there: before the surge, not after it."""
    try:
        import matplotlib  # noqa: F401, PLC0415 - an optional extra
    except ImportError as error:
        raise Refused("--plot needs matplotlib; run `pip install 'floodway[loadtest]'`.") from error


def save(report: SurgeReport, directory: Path, *, title: str, rows: list[tuple[str, str]]) -> tuple[Path, Path]:
    """Write both files, of the surge that `title` names, with `rows` as figures; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    png, html = directory / "surge.png", directory / "surge.html"
    _save_png(report.moments, png, title)
    html.write_text(page(report, title=title, rows=rows), encoding="utf-8")
    return png, html


def _save_png(moments: list[Moment], path: Path, title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an optional extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the machine has
    rate, lag, latency = figure.subplots(3, 1, sharex=True)
    at_s = [moment.at_s for moment in moments]
    seen = [moment for moment in moments if moment.decided]
    rate.plot(at_s, [m.sent for m in moments], color=BLUE, label="sent", marker=".")
    rate.plot(at_s, [m.decided for m in moments], color=ORANGE, label="decided", marker=".")
    _dress(rate, "orders in each second")
    lag.fill_between(at_s, [m.lag for m in moments], color=GRAY, alpha=0.4)
    lag.plot(at_s, [m.lag for m in moments], color=GRAY, label="sent, not yet decided", marker=".")
    _dress(lag, "orders waiting")
    latency.plot([m.at_s for m in seen], [m.p99_ms for m in seen], color=ORANGE, label="p99", marker=".")
    latency.plot([m.at_s for m in seen], [m.p50_ms for m in seen], color=BLUE, label="p50", marker=".")
    _dress(latency, "latency, ms")
    latency.set_xlabel("seconds since the first order was due")
    figure.suptitle(title)
    figure.savefig(path, dpi=DPI)


def _dress(axes: "Axes", label: str) -> None:
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)  # above, where no curve runs
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
