"""What holds for the tests of the chaos."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import mosquitto
from tests.chaos import report
from tests.chaos.rounds import Rounds, Terms
from tests.chaos.world import World

Survive = Callable[[World, Terms], None]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where all is kept; without a Mosquitto there is nothing to keep."""
    if not mosquitto.available():
        if os.environ.get("CI") == "true":
            pytest.fail(mosquitto.INSTALL_HINT)
        pytest.skip(mosquitto.INSTALL_HINT)
    return tmp_path


@pytest.fixture
def survive() -> Survive:
    """Plays one round, and fails with all that is known if anything was not as promised."""

    def play(world: World, terms: Terms) -> None:
        with world:
            one = Rounds(world, terms).play(1)
            logs = world.logs()
        if not one.verdict.good:
            pytest.fail(report.account_of_failure(one, terms, report.command(terms, 1, world.backplane), logs))

    return play
