"""A worker whose clock can be put wrong while it runs: `python -m loadtest.drills.skewed_worker intake FILE`.

FILE has the seconds by which the clock is off; without the file it is right. Everything that workers decide by time
they decide by the clock of their parts (see the decision on time), so that one is exchanged; timeouts and pauses run by
the machine's.
"""

import sys
from pathlib import Path

from agents import bootstrap, worker
from streams.clock import SystemClock
from streams.settings import load


class SkewedClock(SystemClock):
    """The machine's clock, off by what the file says. It is asked once a batch, so a look costs little."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now_ms(self) -> int:
        """Milliseconds since 1970, and the skew."""
        return super().now_ms() + self._skew_ms()

    def _skew_ms(self) -> int:
        try:
            return round(float(self._file.read_text(encoding="ascii")) * 1_000)
        except FileNotFoundError:
            return 0


def main(role: str, file: Path) -> None:
    """Run the worker."""
    bootstrap.SystemClock = lambda: SkewedClock(file)  # type: ignore[assignment, attr-defined]
    worker.run(role, load())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
