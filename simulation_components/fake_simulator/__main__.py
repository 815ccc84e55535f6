"""`python -m fake_simulator`: play a scenario, tell it, and exit with 0 if and only if all was as expected."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from types import FrameType

from rich.console import Console

from fake_simulator.connection import BrokerUnreachable
from fake_simulator.human_narrator import HumanNarrator
from fake_simulator.json_narrator import JsonNarrator
from fake_simulator.options import parse_arguments
from fake_simulator.play import play

AS_EXPECTED, NOT_AS_EXPECTED = 0, 1
INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str]) -> int:
    """Play one scenario; returns the exit status."""
    options = parse_arguments(arguments, os.environ)
    signal.signal(signal.SIGTERM, _stop)
    with ExitStack() as stack:
        narrator = JsonNarrator() if options.json else stack.enter_context(HumanNarrator(Console()))
        try:
            outcome = play(
                options.scenario,
                options.simulator,
                options.credentials,
                options.model_credentials,
                narrator,
                silence=options.silence,
                wait_for_mso=options.wait_for_mso,
            )
        except BrokerUnreachable as error:
            print(error, file=sys.stderr)
            return NOT_AS_EXPECTED
        except KeyboardInterrupt:
            return INTERRUPTED
    narrator.finished(outcome)
    return NOT_AS_EXPECTED if outcome.differences else AS_EXPECTED


def _stop(number: int, _frame: FrameType | None) -> None:
    # As an exception, so that MSO is still told that the simulation is over.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
