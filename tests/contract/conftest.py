"""The parts of the contract suite: every test that asks for `stage` runs over every backplane."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.stages import STAGES, Stage


@pytest.fixture(params=STAGES)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = STAGES[request.param](tmp_path)
    yield stage
    await stage.close()
