"""What holds for every test."""

import signal

import pytest

from tests import docker_engine


def pytest_sessionstart() -> None:
    """A shell starts what it runs in the background with these ignored, and whatever we start would inherit that."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a Docker engine is skipped where none may be used."""
    if docker_engine.available():
        return
    for item in items:
        if item.get_closest_marker("docker"):
            # As a mark: then they are one line a file in the summary.
            item.add_marker(pytest.mark.skip(reason=docker_engine.HINT))
