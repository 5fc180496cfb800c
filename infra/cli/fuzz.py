"""`floodway fuzz`: mutated messages, configuration and command lines, by the hundred thousand."""

from typing import Literal

from infra.cli.context import out, people, print_json, print_table
from loadtest.fuzz.tally import Tally
from streams.errors import Refused

Target = Literal["messages", "sources", "config", "cli"]
MOST, MOST_PROCESSES = 1_000_000_000, 1_000
COUNT = {"messages": 1_000_000, "sources": 1_000_000, "config": 100_000, "cli": 100_000}


def fuzz(
    target: Target,
    *,
    count: int | None = None,
    seed: int = 1,
    batch: int | None = None,
    processes: int | None = None,
    json: bool = False,
) -> int:
    """Feed mutated input to the real code; exit 1 when anything comes out otherwise than it must. No servers needed.

    `messages`: submissions and reports, between good ones, through the edge of intake and lifecycle. Each is taken, and
    written again is the same, or is a dead letter with field and fix; the published JSON Schema says the same; no
    neighbour is touched; none takes long. `sources`: what channels, warehouses, carriers and payments say in their own
    words, with all mappings. `config`: settings, deliveries, quotas, files of orders. `cli`: command lines
    of every command, on no servers or on stores in memory. Each ends with a documented exit code and, if it failed,
    with an error that names what is wrong; never with a traceback.

    Input is made in batches, each from the seed and its number alone. What breaks is made as small as it gets and
    printed with the command that does it again.

    Parameters
    ----------
    target
        What is fed: messages, sources, config or cli.
    count
        How many mutated inputs at the least; 1,000,000 messages or words of sources, else 100,000.
    seed
        Of all that is drawn.
    batch
        Only this batch.
    processes
        How many to run side by side; one a core unless told otherwise.
    json
        Print one JSON object.

    """
    try:
        from loadtest.fuzz.run import run_batches  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise Refused("Fuzzing needs jsonschema-rs; run `pip install 'floodway[loadtest]'`.") from error

    wanted = COUNT[target] if count is None else count
    if not 0 < wanted <= MOST or (processes is not None and not 0 < processes <= MOST_PROCESSES):
        raise Refused(f"--count {wanted} must be from 1 to {MOST:,}, --processes from 1 to {MOST_PROCESSES}.")
    with people.status("fuzzing") as status:
        tally = run_batches(
            target,
            seed,
            wanted,
            only=batch,
            processes=processes,
            progress=lambda done: status.update(f"{done:,} of {wanted:,} inputs"),
        )
    print_json({"target": target, "seed": seed, **tally.as_dict()}) if json else _show(target, seed, tally)
    return int(bool(tally.broken))


def _show(target: str, seed: int, tally: Tally) -> None:
    rows = [("mutated inputs", tally.inputs), ("good ones between them", tally.neighbours)]
    print_table([f"{target}, seed {seed}", "count"], rows + sorted(tally.fates.items()))
    if tally.corners:
        print_table(["the contract leaves it to the parser", "count"], tally.corners.most_common())
    for found in tally.findings:
        out.print(found.what, style="bold red")
        out.print(f"  {found.smallest}")
        out.print(f"  Again: {found.replay}")
    if tally.broken:
        print_table(["broken", "inputs"], tally.broken.most_common())
    else:
        out.print("Everything held.", style="bold green")
