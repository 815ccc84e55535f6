"""What holds for every test."""

import signal


def pytest_sessionstart() -> None:
    """A shell starts what it runs in the background with these ignored, and whatever we start would inherit that."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
