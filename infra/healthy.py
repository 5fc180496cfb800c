"""Whether a process of ours in this container lives: `python -m infra.healthy [URL]` exits with 0 or 1.

Standard library alone, for it is started every few seconds. Without a URL it asks the port that
`FLOODWAY_METRICS_PORT` names.
"""

import os
import sys
from urllib.error import URLError
from urllib.request import urlopen

TIMEOUT_S = 4.0


def is_healthy(url: str) -> bool:
    """Whether `url` answers with 200 in time."""
    try:
        with urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - given by the container's own health check
            return bool(answer.status == 200)
    except (URLError, OSError, ValueError):
        return False


if __name__ == "__main__":
    asked = sys.argv[1] if len(sys.argv) > 1 else f"http://127.0.0.1:{os.environ.get('FLOODWAY_METRICS_PORT')}/livez"
    sys.exit(0 if is_healthy(asked) else 1)
