"""The page of the vocabulary, made from the tables of `streams.core.vocabulary` and `streams.core.standing`."""

from collections.abc import Iterable

from streams.core.standing import RULES
from streams.core.vocabulary import EVENTS, MILESTONES, Axis, Milestone, next_on

_HEAD = """# The words for where an order is

Made from `streams/core/vocabulary.py` and `streams/core/standing.py` by `floodway schema`.

An order stands on four axes: payment, stock, fulfilment (for each shipment and line) and return. On each it has
reached some milestones; what was reached only grows, and the axis stands at the milestone of highest rank. So a late or
repeated report takes nothing back, nothing runs backwards, and beyond a final milestone there is nothing. Milestones
may be skipped: a parcel that was delivered has been shipped, whether or not anybody reported it. What happens beside
the way (a failed payment, a lost parcel) leads back to it.
"""

_AXES = {
    Axis.PAYMENT: "Payment",
    Axis.STOCK: "Stock",
    Axis.FULFILMENT: "Fulfilment",
    Axis.RETURN: "Return",
}
_STOCK_STEPS = (
    ("held", "sold"),
    ("held", "expired"),
    ("held", "cancelled"),
    ("expired", "sold"),
    ("expired", "cancelled"),
    ("sold", "cancelled"),
)
"""The stock's own: what it did is told by its states, not by reports; see `LATE_PAYMENT_POLICY`."""


def vocabulary_page() -> str:
    """The page as Markdown, with a diagram for each axis."""
    parts = [_HEAD, "## What people are shown\n", "The first that holds.\n", _rules()]
    for axis, title in _AXES.items():
        parts += [f"## {title}\n", _diagram(axis), _milestones(m for m in MILESTONES if m.axis is axis)]
    parts += ["## Events of reports\n", "What `type` of a report leads to.\n", _events()]
    return "\n".join(parts)


def _rules() -> str:
    rows = (f"| `{r.status}` | {r.when} | {r.zh} | {r.en} | {r.schema_org} |" for r in RULES)
    return _table("status | when | 中文 | English | schema.org OrderStatus", rows)


def _milestones(milestones: Iterable[Milestone]) -> str:
    rows = (
        f"| {m.rank} | `{m.name}` | {_kind(m)} | {m.zh} | {m.en} | {m.schema_org} | {m.gs1} | {m.edi} |"
        for m in milestones
    )
    return _table("rank | milestone | kind | 中文 | English | schema.org | GS1 (CBV) | EDI", rows)


def _kind(milestone: Milestone) -> str:
    if milestone.rank == 0:
        return "where it begins"
    return "final" if milestone.final else "on the way" if milestone.on_way else "beside the way"


def _events() -> str:
    rows = (
        f"| `{event}` | {f'`{to.name}` ({to.axis})' if to else 'kept, moves nothing'} |" for event, to in EVENTS.items()
    )
    return _table("event | milestone", rows)


def _diagram(axis: Axis) -> str:
    steps = _STOCK_STEPS if axis is Axis.STOCK else [(a.name, b.name) for a, b in next_on(axis)]
    mine = [m for m in MILESTONES if m.axis is axis]
    lines = [f"    [*] --> {mine[0].name}", *(f"    {a} --> {b}" for a, b in steps)]
    lines += [f"    {m.name} --> [*]" for m in mine if m.final]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def _table(head: str, rows: Iterable[str]) -> str:
    return "\n".join([f"| {head} |", "|" + "---|" * (head.count("|") + 1), *rows, ""])
