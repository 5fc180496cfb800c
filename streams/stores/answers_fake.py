"""Answers in memory."""

from streams.clock import Clock
from streams.stores.answers import Answers, Claim, Claimed, answered, in_flight, read


class FakeAnswers(Answers):
    """Keeps what it is given until the clock has passed it."""

    def __init__(self, clock: Clock, *, lease_s: float, keep_s: float) -> None:
        self._clock = clock
        self._lease_ms, self._keep_ms = round(lease_s * 1000), round(keep_s * 1000)
        self._kept: dict[bytes, tuple[bytes, int]] = {}

    async def claim(self, key: bytes, fingerprint: bytes, owner: bytes) -> Claimed:
        """See `Answers`."""
        found = read(self._get(key), fingerprint)
        if found.claim is Claim.MINE:
            self._set(key, in_flight(fingerprint, owner), self._lease_ms)
        return found

    async def keep(self, key: bytes, fingerprint: bytes, owner: bytes, answer: bytes) -> bool:
        """See `Answers`."""
        if self._get(key) != in_flight(fingerprint, owner):
            return False
        self._set(key, answered(fingerprint, answer), self._keep_ms)
        return True

    async def forget(self, key: bytes, fingerprint: bytes, owner: bytes) -> bool:
        """See `Answers`."""
        if self._get(key) != in_flight(fingerprint, owner):
            return False
        del self._kept[key]
        return True

    async def close(self) -> None:
        """See `Answers`."""

    def _get(self, key: bytes) -> bytes | None:
        value, until_ms = self._kept.get(key, (None, 0))
        return value if until_ms > self._clock.now_ms() else None

    def _set(self, key: bytes, value: bytes, ttl_ms: int) -> None:
        self._kept[key] = (value, self._clock.now_ms() + ttl_ms)
