"""Links for buyers: made for whoever may read orders, and known again when they come back."""

from datetime import UTC, datetime
from uuid import UUID

from msgspec import Struct

from agents.http.settings import PREFIX, HttpSettings
from streams.clock import Clock
from streams.core.links import PREFIX as LINK_PREFIX
from streams.core.links import make_link, read_link

DAY_S = 86_400
IS_LINK = LINK_PREFIX.encode()
NO_KEY = (
    f"links need a key: set {PREFIX}LINK_KEYS to 32 random characters or more, the same for all processes; "
    "`openssl rand -hex 32` prints some"
)


class Link(Struct, frozen=True):
    """Where a buyer sees the order, until when. Whoever has it sees the timeline of this order and nothing else."""

    order_id: UUID
    url: str
    expires_at: datetime


class Links:
    """Makes and knows links, under the keys of the settings: the first makes them, any knows them."""

    def __init__(self, settings: HttpSettings, clock: Clock) -> None:
        self._keys = settings.link_keys.split(",") if settings.link_keys else []
        self._days, self._clock = settings.link_days, clock
        self._base = (settings.public_url or "").rstrip("/")

    @property
    def has_keys(self) -> bool:
        """Whether links can be made."""
        return bool(self._keys)

    def make(self, order_id: UUID, *, base: str | None = None) -> Link:
        """A link that begins with `base`, else with the public address of the settings, else with a slash."""
        assert self._keys, "looked at before"
        until_s = self._clock.now_ms() // 1000 + round(self._days * DAY_S)
        token = make_link(self._keys[0], order_id, until_s)
        address = f"{self._base if base is None else base.rstrip('/')}/orders/{order_id}#token={token}"
        return Link(order_id, address, datetime.fromtimestamp(until_s, UTC))

    def order_of(self, token: bytes) -> UUID | None:
        """The order that a token is good for now; None for one that is good for none."""
        found = read_link(self._keys, token.decode("latin-1"))
        if found is None or found[1] * 1000 < self._clock.now_ms():
            return None
        return found[0]
