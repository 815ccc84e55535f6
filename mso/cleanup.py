"""Cleaning up by hand: everything of one simulation is removed where models run, whether a service lives or not.

It goes by what the backplane lists now and by nothing that anybody remembers (fault C2).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

from mso.backplane import Backplane, BackplaneError, Listed, Observation
from mso.model import Attempt, RunKey

LISTING_SECONDS = 60.0
REMOVAL_SECONDS = 120.0


async def cleanup(backplane: Backplane, simulation: str, *, dry_run: bool, say: Callable[[str], None]) -> int:
    """Remove every run of a simulation, and say so; returns how many models that were.

    Raises BackplaneError when the backplane cannot be reached, or does not let go of them.
    """
    async with backplane:
        runs = Counter(one.key.run_key for one in await _listing(backplane) if one.key.simulation == simulation)
        for run, models in sorted(runs.items()):
            say(f"{'would remove' if dry_run else 'removing'} run {run.run} of {run.simulation}: {models} models")
            if not dry_run:
                await _remove(backplane, run, say)
    return sum(runs.values())


async def _listing(backplane: Backplane) -> frozenset[Attempt]:
    """Everything of ours that is there."""
    stream = cast("AsyncGenerator[Observation | Listed]", backplane.watch())
    try:
        async with asyncio.timeout(LISTING_SECONDS), aclosing(stream):
            async for seen in stream:
                if isinstance(seen, Listed):
                    return seen.present
    except TimeoutError:
        wrong = "; ".join(await backplane.health()) or "the backplane did not answer"
        raise BackplaneError(f"no listing within {LISTING_SECONDS:.0f} s: {wrong}") from None
    raise AssertionError("a watch has no end")


async def _remove(backplane: Backplane, run: RunKey, say: Callable[[str], None]) -> None:
    """Until it is gone; a node may take its time to end what ran there."""
    try:
        async with asyncio.timeout(REMOVAL_SECONDS):
            while True:
                try:
                    await backplane.remove_run(run)
                except BackplaneError as exc:
                    say(f"still at it: {exc}")
                    await asyncio.sleep(1.0)
                else:
                    return
    except TimeoutError:
        raise BackplaneError(f"{run} is not gone after {REMOVAL_SECONDS:.0f} s") from None
