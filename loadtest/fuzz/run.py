"""Many batches, over the processor's cores."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from loadtest.fuzz import cli, config, messages, sources
from loadtest.fuzz.tally import Tally

TARGETS: dict[str, Callable[[int, int], Tally]] = {
    module.TARGET: module.run_batch for module in (messages, sources, config, cli)
}
SLICE = 5
"""Batches that a process is given at a time."""


def run_batches(
    target: str,
    seed: int,
    wanted: int,
    *,
    only: int | None = None,
    processes: int | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> Tally:
    """Run batches from number 0 on until `wanted` inputs were tried, or one batch `only`. One process runs here."""
    if only is not None:
        return run_some(target, seed, only, 1)
    total = run_some(target, seed, 0, 1)
    each = total.inputs
    left = -(-(wanted - each) // each)
    starts = iter(range(1, 1 + max(0, left), SLICE))
    slices = ((first, min(SLICE, 1 + left - first)) for first in starts)  # not a list: a billion inputs are allowed
    wanted_processes = min(processes or len(os.sched_getaffinity(0)), max(1, -(-left // SLICE)))
    if wanted_processes == 1:
        for first, number in slices:
            total.add(run_some(target, seed, first, number))
            progress(total.inputs)
        return total
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(wanted_processes, mp_context=context) as pool:
        waiting = [pool.submit(run_some, target, seed, *one) for one in islice(slices, 4 * wanted_processes)]
        while waiting:
            total.add(waiting.pop(0).result())
            waiting += [pool.submit(run_some, target, seed, *one) for one in islice(slices, 1)]
            progress(total.inputs)
    return total


def run_some(target: str, seed: int, first: int, number: int) -> Tally:
    """Run batches one after another, in this process."""
    tally, began_s = Tally(), time.process_time()
    for batch in range(first, first + number):
        tally.add(TARGETS[target](seed, batch))
    tally.cpu_s = time.process_time() - began_s
    return tally
