"""The command line. Commands are imported when they are called, so that `floodway --help` is instant."""

import asyncio
import sys

from cyclopts import App

from streams.errors import FloodwayError

INTERRUPTED = 130

app = App(
    name="floodway",
    help="A stream-processing pipeline for order surges: every order decided once, no unit sold twice, books that "
    "balance. Try `floodway demo`.",
    version="0.1.0",
    # A command's return value is the exit code; None is success.
    result_action="return_int_as_exit_code_else_zero",
)

app.command("infra.cli.demo:demo")
app.command("infra.cli.up:up")
app.command("infra.cli.init:init")
app.command("infra.cli.worker:worker")
app.command("infra.cli.submit:submit")
app.command("infra.cli.report:report")
app.command("infra.cli.order:order")
app.command("infra.cli.verify:verify")
app.command("infra.cli.schema:schema")

stock = App(name="stock", help="Goods in, and what is on the shelves.")
stock.command("infra.cli.stock:load")
stock.command("infra.cli.stock:show")
app.command(stock)

promo = App(name="promo", help="Promotions: pools set aside, with a window and a limit for each buyer.")
promo.command("infra.cli.promo:open_", name="open")
promo.command("infra.cli.promo:close")
promo.command("infra.cli.promo:show")
app.command(promo)


def main() -> None:
    """Run the command that the arguments name, and exit. Errors of ours are one line; others are bugs, with trace."""
    try:
        code = app()
    except FloodwayError as error:
        print(f"floodway: {error}", file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    sys.exit(code)
