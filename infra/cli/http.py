"""`floodway http` and `floodway token`: orders and answers over HTTP, and who may send and ask."""

import sys
from collections.abc import Sequence
from typing import Any, Literal

from infra.cli.context import out, people, print_json, settings
from infra.workers import Supervisor
from streams.errors import Refused

Scope = Literal["orders:write", "orders:read", "orders:remark"]


def http(*, host: str | None = None, port: int | None = None, processes: int = 1, log_level: str | None = None) -> int:
    """Serve orders over HTTP until interrupted: see docs/http.md and /openapi.json.

    Parameters
    ----------
    host
        Where to listen; 127.0.0.1 by default. Anything but loopback needs tokens.
    port
        Where to listen; 8080 by default.
    processes
        Processes that share the port, started again when one dies.
    log_level
        DEBUG, INFO, WARNING or ERROR.

    """
    from agents.http.serve import run  # noqa: PLC0415 - uvicorn and aiokafka take a moment to import
    from agents.http.settings import load_http  # noqa: PLC0415
    from agents.http.tokens import Tokens  # noqa: PLC0415

    using = settings() if log_level is None else settings(log_level=log_level.upper())
    chosen: dict[str, Any] = {"host": host, "port": port}
    front = load_http(**{name: value for name, value in chosen.items() if value is not None})
    if processes < 1:
        raise Refused(f"--processes {processes} must be at least 1.")
    Tokens.load(front)  # what is wrong is told here, not in the log of a child
    people.print(
        f"Serving on {'https' if front.tls_cert_file else 'http'}://{front.host}:{front.port}. Ctrl-C ends it."
    )
    if processes == 1:
        run(using, front)
        return 0

    def argv(_role: str, _number: int) -> Sequence[str]:
        main = [sys.executable, "-c", "from infra.cli import main; main()", "http"]
        return [*main, "--host", front.host, "--port", str(front.port)]

    return Supervisor(using, {"http": processes}, say=people.print, argv=argv).run()


def token(name: str, *, scope: list[Scope] | None = None, json: bool = False) -> None:
    """Make an API token. Give it to its user; put the line into the file FLOODWAY_HTTP_TOKENS_FILE, and start anew.

    Parameters
    ----------
    name
        Who will use it; letters, digits and the like.
    scope
        What it is good for: orders:write, orders:read, orders:remark; the first two when none is named.
    json
        Print one JSON object.

    """
    from agents.http.tokens import make_token  # noqa: PLC0415
    from streams.core.names import is_sku  # noqa: PLC0415

    if not is_sku(name):
        raise Refused(f"{name!r} is no name for a token; use letters, digits and . _ ~ @ + -.")
    made, digest = make_token()
    line = f"{name} {','.join(scope or ['orders:write', 'orders:read'])} {digest}"
    if json:
        print_json({"token": made, "line": line})
        return
    out.print(f"token, shown once   {made}\nline for the file   {line}")
