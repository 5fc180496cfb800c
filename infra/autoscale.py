"""Follows an exporter's advice on one machine: starts and ends worker processes, as a cluster's autoscaler would."""

import json
import threading
from collections.abc import Callable, Mapping
from http.client import HTTPException
from time import monotonic
from typing import Any
from urllib.request import urlopen

from infra.workers import Supervisor

ASK_INTERVAL_S = 1.0
TIMEOUT_S = 3.0
SILENT_S = 30.0
"""After so long without an answer it is said that there is none."""


class Follower:
    """Asks in a thread of its own, so that a slow answer holds up nobody; `follow` does what was advised.

    While there is no answer the number stays what it is.
    """

    def __init__(self, url: str, role: str, least: int, most: int, *, say: Callable[[str], object]) -> None:
        self._url = f"{url}/autoscale?role={role}&min={least}&max={most}"
        self._role, self._say = role, say
        self._count = least
        self._advice: Mapping[str, Any] | None = None
        self._ended = threading.Event()
        self._answered_at_s = monotonic()
        self._is_silent = False
        self._thread = threading.Thread(target=self._ask, name="autoscale", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()

    def follow(self, supervisor: Supervisor) -> None:
        """Have as many workers as were advised last, once those that were asked to leave have left."""
        self._tell_of_silence()
        advice = self._advice
        if advice is None or supervisor.leaving():
            return
        desired = int(advice["desired"])
        if desired == self._count:
            return
        self._say(f"{self._role}: {self._count} -> {desired} workers ({in_words(advice)})")
        self._count = desired
        supervisor.scale(self._role, desired)

    def _ask(self) -> None:
        while not self._ended.wait(ASK_INTERVAL_S):
            advice = ask(self._url)
            if advice is not None:
                self._advice, self._answered_at_s = advice, monotonic()

    def _tell_of_silence(self) -> None:
        is_silent = monotonic() - self._answered_at_s > SILENT_S
        if is_silent and not self._is_silent:
            self._say(f"Nobody answers at {self._url}; {self._count} x {self._role} stay until then.")
        self._is_silent = is_silent


def ask(url: str) -> Mapping[str, Any] | None:
    """The advice; None when there is none, or something else answers."""
    try:
        with urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http, from our own settings
            found = json.load(answer)
    except (OSError, ValueError, HTTPException):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("desired"), int) else None


def in_words(advice: Mapping[str, Any]) -> str:
    """Why, for people."""
    drain_s = advice.get("drain_seconds")
    drained = "" if not advice["lag"] else f", gone in {drain_s:.0f} s" if drain_s is not None else ", not shrinking"
    why = str(advice["why"]).replace("_", " ")
    lag = (
        "lag unknown" if advice["lag"] is None else f"lag {advice['lag']:,}, {advice['lag_seconds']:.1f} s old{drained}"
    )
    return f"{why}; {lag}; {advice['arriving_per_second']:,.0f}/s come, {advice['committing_per_second']:,.0f}/s go"
