"""The parts of the contract suite: every test that asks for `stage` runs over every backplane."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests import kubernetes_cluster
from tests.contract.stages import STAGES, Stage


def _marks(stage: str) -> Iterator[pytest.MarkDecorator]:
    if stage == "kubernetes":
        yield pytest.mark.cluster
        if not kubernetes_cluster.available():
            # As a mark: then the whole suite is one line in the summary.
            yield pytest.mark.skip(reason=kubernetes_cluster.INSTALL_HINT)
    if stage == "docker":
        yield pytest.mark.docker


@pytest.fixture(params=[pytest.param(name, marks=[*_marks(name)], id=name) for name in STAGES])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = STAGES[request.param](tmp_path)
    yield stage
    await stage.close()
