"""A minute of chaos: whatever is killed, stopped, cut off and filled up, nothing is lost and nothing is told wrong."""

import os
from pathlib import Path

import pytest

from tests.chaos.conftest import Survive
from tests.chaos.rounds import Terms
from tests.chaos.world_docker import DockerWorld
from tests.chaos.world_local import LocalWorld

pytestmark = [
    pytest.mark.slow,
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.timeout(540),  # a round that goes wrong is waited for
]


def test_a_minute_on_this_machine(directory: Path, survive: Survive) -> None:
    """Kills, pauses and restarts of MSO and broker, a full disk, a wrong clock."""
    survive(LocalWorld(directory), Terms(seed=27, hostility=40.0))


@pytest.mark.docker
def test_half_a_minute_on_a_docker_engine(directory: Path, survive: Survive) -> None:
    """The same with containers, which somebody stops, kills and deletes by hand, and an engine that is cut off."""
    survive(DockerWorld(directory), Terms(seed=29, hostility=30.0))


@pytest.mark.cluster
def test_a_minute_on_a_cluster(directory: Path, survive: Survive) -> None:
    """The same with pods, and an API server and an etcd that fail as well: not beside other tests of the cluster."""
    if os.environ.get("MSO_TEST_CHAOS") != "cluster":
        pytest.skip(
            "a minute of chaos on a cluster is for MSO_TEST_CHAOS=cluster: it stops the cluster's own components"
        )
    from tests.chaos import world_cluster

    if why := world_cluster.trouble():
        pytest.skip(why)
    survive(world_cluster.ClusterWorld(directory), Terms(seed=28, hostility=60.0))
