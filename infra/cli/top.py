"""`floodway top`: how it goes, on a terminal, a frame a second."""

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from infra.cli.context import out, print_json
from infra.workers import EXPORTER_FILE, LOG_DIR
from streams.errors import Refused

if TYPE_CHECKING:
    from agents.ops.reading import Reader

INTERVAL_S = 1.0


def top(*, exporter: str | None = None, once: bool = False, json: bool = False) -> None:
    """Show rate, lag, latency, stores, stock and workers, a frame a second, until `q` or Ctrl-C: see docs/ops.md.

    It reads what the workers of this directory and the exporter tell, and disturbs nobody.

    Parameters
    ----------
    exporter
        Where `floodway exporter` is; the one of this directory by default, else http://127.0.0.1:9308.
    once
        Print one frame, after a second of looking, and end.
    json
        Print one JSON object a second; with --once, one.

    """
    reader = _reader(exporter)
    if json:
        work = _print_json(reader, once=once)
    elif once:
        work = _print_frame(reader)
    elif not out.is_terminal:
        raise Refused("Standard output is no terminal; use --once for one frame, or --json.")
    else:
        work = _show(reader)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work)


def _reader(url: str | None) -> "Reader":
    from agents.exporter.scraping import Scraper  # noqa: PLC0415 - aiohttp takes a moment to import
    from agents.exporter.settings import load_exporter  # noqa: PLC0415
    from agents.ops.reading import TIMEOUT_S, Reader  # noqa: PLC0415

    exports = load_exporter()
    said = LOG_DIR / EXPORTER_FILE
    if url is None and said.is_file():
        url = said.read_text(encoding="utf-8")
    if url is None:
        host = "127.0.0.1" if exports.host in {"0.0.0.0", "::"} else exports.host  # noqa: S104 - where it is asked
        url = f"http://{f'[{host}]' if ':' in host else host}:{exports.port}"
    elif not url.startswith(("http://", "https://")):
        raise Refused(f"--exporter {url!r} is no address; write it as http://127.0.0.1:9308.")
    return Reader(Scraper(exports.targets(), Path(LOG_DIR), TIMEOUT_S), url.rstrip("/"))


async def _print_json(reader: "Reader", *, once: bool) -> None:
    from agents.ops.board import as_json  # noqa: PLC0415

    await reader.look()
    while True:
        await asyncio.sleep(INTERVAL_S)
        print_json(as_json(await reader.look()))
        if once:
            return


async def _print_frame(reader: "Reader") -> None:
    from infra.cli.top_screen import frame  # noqa: PLC0415

    await reader.remember()
    await reader.look()
    await asyncio.sleep(INTERVAL_S)
    seen = await reader.look()
    out.print(frame(seen, reader.course.points, out.width), soft_wrap=False)


async def _show(reader: "Reader") -> None:
    """Draw until told to end. A new size of the terminal is drawn at once."""
    from infra.cli.top_screen import frame  # noqa: PLC0415

    console = Console(highlight=False, markup=False, emoji=False, _environ=_without_size(os.environ))
    ending, loop = asyncio.Event(), asyncio.get_running_loop()
    await reader.remember()
    with _keys(ending.set), Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as shown:

        def draw() -> None:
            if (seen := reader.course.newest) is not None:
                hint = f"{reader.exporter_url.partition('//')[2]}   q ends"
                shown.update(frame(seen, reader.course.points, console.width, hint=hint), refresh=True)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, ending.set)
        loop.add_signal_handler(signal.SIGWINCH, draw)
        ended = asyncio.create_task(ending.wait(), name="ending")
        while not ended.done():
            due = monotonic() + INTERVAL_S
            looking = asyncio.create_task(reader.look(), name="look")
            await asyncio.wait({looking, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                looking.cancel()
                break
            await looking  # a defect is told, and ends it
            draw()
            await asyncio.wait({ended}, timeout=max(0.05, due - monotonic()))


def _without_size(environ: Mapping[str, str]) -> dict[str, str]:
    """What is exported of the terminal's size is of the past (readline leaves it to whatever a program starts): the
    terminal itself is asked.
    """
    return {name: value for name, value in environ.items() if name not in {"COLUMNS", "LINES"}}


@contextlib.contextmanager
def _keys(end: Callable[[], None]) -> Iterator[None]:
    """`q` ends it. Without a keyboard only signals do."""
    if not sys.stdin.isatty():
        yield
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        if b"q" in os.read(number, 64).lower():
            end()

    tty.setcbreak(number)
    loop.add_reader(number, pressed)
    try:
        yield
    finally:
        loop.remove_reader(number)
        termios.tcsetattr(number, termios.TCSADRAIN, before)
