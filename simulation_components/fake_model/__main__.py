"""`python -m fake_model`: read the environment, print it, run, and turn what happened into an exit code."""

import io
import os
import signal
import sys
import traceback
from types import FrameType

from fake_model.configuration import HELP, Configuration, ConfigurationError
from fake_model.model import BrokerUnreachable, CalculationError, FakeModel

WRONG_ENVIRONMENT = 64
BROKER_UNREACHABLE = 70
STOPPED = 128 + signal.SIGTERM


class StoppedBySignal(BaseException):
    """SIGTERM: travels up through whatever the model is doing, as KeyboardInterrupt does."""


def main(arguments: list[str]) -> int:
    """Run one fake model; returns its exit code."""
    if arguments:
        print(HELP, end="")
        return 0 if arguments[0] in ("-h", "--help") else WRONG_ENVIRONMENT
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Into a file or a pipe Python writes blocks: what a killed model printed last would be lost.
        sys.stdout.reconfigure(line_buffering=True)
    try:
        configuration = Configuration.from_environment(os.environ)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return WRONG_ENVIRONMENT
    print(*configuration.lines(), sep="\n")
    try:
        signal.signal(signal.SIGTERM, _stop)
        FakeModel(configuration).run()
    except StoppedBySignal:
        print("stopped by SIGTERM")
        return STOPPED
    except BrokerUnreachable as error:
        print(error, file=sys.stderr)
        return BROKER_UNREACHABLE
    except CalculationError:
        traceback.print_exc()
        return configuration.exit_code
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one need not wait for our good manners
    raise StoppedBySignal


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
