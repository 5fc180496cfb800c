"""Calls in few words, for the trace: ids by their last digits, results by what they decided."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from streams.core.books import Booking, OrderRecord, Persisted, Step, StoredDecision
from streams.core.memory import Page
from streams.core.stock import Expired, Reservation, Verdict
from streams.messages import Decision, OrderChanged
from streams.stores.log import Entry

UNORDERED = frozenset({"lookup", "orders"})
"""Methods whose arguments come from sets, in an order that differs from process to process."""


SHOWN = {"begin_rebuild": 1, "take_steps": 2}
"""How many arguments look the same in every run: an installation's id is drawn anew, functions have an address."""


class Brief:
    """A call that has been served; rendered only when somebody reads the trace."""

    __slots__ = ("_args", "_method", "_named", "_result")

    def __init__(self, method: str, args: tuple[Any, ...], named: Mapping[str, Any], result: Any) -> None:
        self._method, self._args, self._named, self._result = method, args, named, result

    def __str__(self) -> str:
        if self._method in UNORDERED:
            args: Any = sorted(brief(one) for one in self._args[0])
            result: Any = sorted(f"{brief(k)}={brief(v)}" for k, v in self._result.items())
        else:
            given = self._args[: SHOWN.get(self._method, len(self._args))]
            args, result = [brief(one) for one in given], brief(self._result)
        named = [f"{name}={value}" for name, value in self._named.items()]
        return f"({', '.join([*args, *named])}) -> {result}"


def brief(value: Any) -> str:  # noqa: PLR0912 - one case a type
    """A value in few words."""
    match value:
        case UUID():
            return value.hex[-6:]
        case bytes():
            return value.hex()[-6:] if len(value) == 16 else value.decode(errors="replace")[:60]
        case Reservation():
            return f"{value.order_id.hex()[-6:]}@{value.promotion_id or 'main'}{dict(value.quantities)}"
        case Verdict():
            marks = f"{' replay' if value.replay else ''}{' conflict' if value.conflict else ''}"
            return f"{value.code.name.lower()}{marks} {value.order_id.hex()[-6:]} at {value.decided_at_ms % 10**6}"
        case Booking():
            return f"{value.key[1]}:{brief(value.order_id)}:{value.reason or 'accepted'}"
        case StoredDecision():
            return f"{brief(value.order_id)}:{value.reason or 'accepted'}"
        case Persisted():
            return f"known {brief(dict(value.stored))}"
        case OrderRecord():
            return f"{brief(value.order_id)}:{value.state}"
        case Step():
            return f"{brief(value.order_id)}:{value.kind}->{value.state}"
        case Expired():
            return f"{brief(value.order_id)}:{value.end} due {value.due_ms % 10**6}"
        case Decision():
            return f"{value.submission_id}:{brief(value.order_id)}:{value.reason or 'accepted'}"
        case OrderChanged():
            return f"{brief(value.order_id)}:{value.change}"
        case Entry():
            return brief(value.value)
        case Page():
            return ", ".join(f"{len(getattr(value, n))} {n}" for n in value.__struct_fields__ if getattr(value, n))
        case Mapping():
            return "{" + ", ".join(f"{brief(k)}: {brief(v)}" for k, v in value.items()) + "}"
        case tuple() if hasattr(value, "_fields"):
            return str(value)
        case tuple() | list():
            return "[" + ", ".join(brief(one) for one in value) + "]"
        case _ if callable(value):
            return f"<{type(value).__name__}>"  # its address would differ from run to run
        case _:
            return str(value)
