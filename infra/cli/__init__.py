"""The command line. Commands are imported when they are called, so that `floodway --help` is instant."""

import asyncio
import logging
import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter

from streams.errors import FloodwayError

INTERRUPTED = 130
MISUSED = 2
NO_SUCH_FILE = 74  # sysexits' EX_IOERR: also a directory where a file should be, or one that may not be written
MOST_SAID = 1_500
"""Characters of an error: who gave a megabyte must not get it back."""

app = App(
    name="floodway",
    help="A stream-processing pipeline for order surges: every order decided once, no unit sold twice, books that "
    "balance. Try `floodway demo`.",
    version=lambda: version("floodway"),
    default_parameter=Parameter(negative=()),  # no --no-json
    # A command's return value is the exit code; None is success.
    result_action="return_int_as_exit_code_else_zero",
)

COMMANDS = {
    "demo": "Replay real baskets as a surge of orders, and prove that the books balance.",
    "surge": "Measure a surge of orders: rates, latency, CPU and memory by process, and whether the books balance.",
    "drill": "Put a fault into a surge, take it out again, and prove that the books balance all the same.",
    "soak": "Send orders for many minutes with a fault in each; does memory grow, do the books balance?",
    "week": "Report a week of orders late, twice and in any order; prove that they end as they would have in order.",
    "capacity": "Tell what a rate of orders takes in processes and cores, from a surge's report.",
    "up": "Start Kafka, Redis, Postgres and a replica on this machine, until interrupted.",
    "init": "Make servers of your own ready: schema, topics, epoch.",
    "secrets": "Make the passwords that docker-compose.yml needs.",
    "worker": "Run workers: intake decides submissions, lifecycle carries orders on, notify tells, watch watches.",
    "exporter": "Export lag, stores and stock as metrics, and how many workers there should be.",
    "top": "Watch rate, lag, latency, stores, stock and workers on this terminal.",
    "http": "Take orders and answer for them over HTTP.",
    "submit": "Produce order submissions from a file.",
    "report": "Report what happened to an order: paid, shipped, delivered, cancelled, …",
    "order": "Tell what was decided on an order and what became of it.",
    "why": "Tell why an order is where it is, and who has to act next.",
    "remark": "Say something to an order's buyer: the reason for a delay, for one.",
    "link": "Make a link for an order's buyer: it shows this order's timeline and nothing else.",
    "reconcile": "Compare a channel's export with the centre: what is missing, what differs, where it broke off.",
    "verify": "Recompute the books and compare them with Kafka and Redis.",
    "rewind": "Have everything since a time read again: what the ledger lost in a failover comes back.",
    "simulate": "Run the pipeline on simulated time with everything failing, thousands of schedules.",
    "fuzz": "Feed mutated messages, settings and command lines to the real code, by the hundred thousand.",
    "schema": "Write the published contract: JSON Schemas, AsyncAPI, settings.",
}
stock = App(name="stock", help="Goods in, and what is on the shelves.")
promo = App(name="promo", help="Promotions: units set aside, with a window and a limit for each buyer.")
dlq = App(name="dlq", help="Dead letters: messages that could not be taken.")
review = App(name="review", help="Submissions that waited too long in an outage, and are decided later.")
bench = App(name="bench", help="Measurements on this machine: each part alone, peers, what an order costs.")
tickets = App(name="tickets", help="What people have to see to: opened and closed by `floodway worker watch`.")
notify = App(name="notify", help="Who is told of what, by `floodway worker notify`.")
sources = App(name="sources", help="Mappings of the sources that report: how their codes and times are read.")
kafka = App(name="kafka", help="Apache Kafka for `floodway up --broker kafka`.")


def _register(group: App, name: str, target: str, words: str) -> None:
    """Add a command. `words` stand in the overview; who asks for the command itself gets its function's docstring."""
    asked_for = name in sys.argv[1:3]
    group.command(target, name=name, **({} if asked_for else {"help": words}))


for _name, _words in COMMANDS.items():
    _register(app, _name, f"infra.cli.{_name}:{_name}", _words)
_register(app, "token", "infra.cli.http:token", "Make an API token for the HTTP front.")
_register(stock, "load", "infra.cli.stock:load", "Add units to the main pool from a file.")
_register(stock, "rebuild", "infra.cli.stock:rebuild", "Empty Redis and refill it from the ledger.")
_register(stock, "check", "infra.cli.stock:check", "Compare Redis with the ledger while orders flow.")
_register(stock, "show", "infra.cli.stock:show", "Show units free, held and sold, by SKU and pool.")
_register(stock, "restock", "infra.cli.restock:restock", "Put sold units of an order back on the shelf.")
_register(promo, "open", "infra.cli.promo:open_", "Set units aside for a promotion.")
_register(promo, "close", "infra.cli.promo:close", "Close a promotion and sweep its free units back to main.")
_register(promo, "show", "infra.cli.promo:show", "Show promotions, or one with its pool.")
_register(bench, "parts", "infra.cli.bench:parts", "Measure the limit of each part alone, and the whole beside them.")
_register(bench, "peers", "infra.cli.bench:peers", "Do the same job as others would, and compare.")
_register(bench, "limits", "infra.cli.bench:limits", "Measure what an order costs, and compare with the limits.")
_register(bench, "http", "infra.cli.bench:http", "Measure what an order costs by way of the HTTP front.")
_register(tickets, "list", "infra.cli.tickets:list_", "List open tickets.")
_register(tickets, "show", "infra.cli.tickets:show", "Show one: likely cause, what to do, what became of it.")
_register(tickets, "ack", "infra.cli.tickets:ack", "Say that somebody sees to it.")
_register(tickets, "close", "infra.cli.tickets:close", "Close one by hand.")
_register(tickets, "rules", "infra.cli.tickets:rules", "Check a file of rules, and tell what it watches for.")
_register(notify, "check", "infra.cli.notify:check", "Check a file of targets and routes.")
_register(notify, "waiting", "infra.cli.notify:waiting", "Tell what waits for each target.")
_register(sources, "delay", "infra.cli.sources:delay", "Tell how late each source's reports were.")
_register(sources, "check", "infra.cli.sources:check", "Check mapping files before anything is read with them.")
_register(bench, "page", "infra.cli.bench_page:page", "Measure how soon an order's page answers while a surge runs.")
_register(kafka, "install", "infra.cli.kafka:install", "Bring Apache Kafka's jars from Maven Central, once.")
_register(review, "list", "infra.cli.review:list_", "List what is under review.")
_register(review, "release", "infra.cli.review:release_", "Let what is under review be decided.")
_register(dlq, "list", "infra.cli.dlq:list_", "List messages that could not be taken, and why.")
_register(dlq, "show", "infra.cli.dlq:show", "Show one of them, with what would mend it.")
_register(dlq, "replay", "infra.cli.dlq:replay_", "Send them again.")
app.command(dlq)
app.command(review)
app.command(stock)
app.command(promo)
app.command(bench)
app.command(sources)
app.command(tickets)
app.command(notify)
app.command(kafka)


def main() -> None:
    """Run the command that the arguments name, and exit. Errors of ours are one line; others are bugs, with trace.

    What the system says of files that were named is the user's to mend, so it is one line too.
    """
    for library in ("aiokafka", "asyncpg"):  # they would write what our error says anyway; workers have a log
        logging.getLogger(library).addHandler(logging.NullHandler())
    for word in sys.argv[1:]:
        if not _is_text(word):
            _say(f"{word!r} is no text in UTF-8; write it, or name the file, so that it is.")
            sys.exit(MISUSED)
    try:
        code = app(sys.argv[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _say(" ".join(str(error).split()))
        code = MISUSED
    except FloodwayError as error:
        _say(str(error))
        code = error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    except OSError as error:
        if error.filename is None:  # nothing that was named: a bug
            raise
        _say(f"{error.filename}: {error.strerror}; give another file or directory, or mend its permissions.")
        code = NO_SUCH_FILE
    sys.exit(code)


def _is_text(word: str) -> bool:
    """Whether a word can be written anywhere: Python takes bytes that are none in with half a surrogate pair each."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _say(words: str) -> None:
    """Print an error. It may have anything in it that was given, which must not reach the terminal as commands."""
    if len(words) > MOST_SAID:
        words = f"{words[: MOST_SAID // 2]} … {words[-MOST_SAID // 2 :]}"
    words = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in words)
    print(f"floodway: {words}", file=sys.stderr)
