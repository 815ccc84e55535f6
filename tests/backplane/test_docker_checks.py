"""What the doctor sees of a Docker engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mso.backplane import docker_checks as checks
from mso.backplane.clocks import CLOCK
from mso.backplane.docker_engine import Address, Engine
from mso.backplane.docker_lease import DockerLease
from mso.backplane.lease import FileLease
from mso.checkup import Finding, Grade
from tests.contract.contender import Waiting
from tests.docker_engine import clear, docker, host, new_project


@pytest.fixture
def project() -> Iterator[str]:
    name = new_project()
    yield name
    clear(name)


async def examined(project: str, network: str = "", address: Address | None = None) -> dict[str, Finding]:
    found = checks.check(address or Address(host=host()), project, network)
    return {finding.check: finding async for finding in found}


@pytest.mark.docker
async def test_an_engine_that_serves_is_well(project: str) -> None:
    """What is found is told with what it is, and nothing of it is changed."""
    found = await examined(project)
    assert {finding.grade for finding in found.values()} <= {Grade.OK, Grade.WARNING}
    assert docker("version", "--format", "{{.Server.Version}}") in found[checks.ENGINE].what
    assert found[CLOCK].grade is Grade.OK
    assert "none has ever been" in found[checks.ACTIVE].what
    assert not docker("volume", "ls", "--quiet", "--filter", f"name={project}")


@pytest.mark.docker
async def test_who_was_active_last_is_told(project: str, tmp_path: Path) -> None:
    """By the name that the log of that one has."""
    async with DockerLease(FileLease(tmp_path / "lease"), Engine(Address(host=host())), project) as lease:
        await Waiting(lease).until_it_is_ours()
        assert lease.identity in (await examined(project))[checks.ACTIVE].what


@pytest.mark.docker
async def test_a_network_that_is_not_there_is_wrong(project: str) -> None:
    """With the command that makes it; and one that is there is well."""
    found = (await examined(project, network=f"{project}-net"))[checks.NETWORK]
    assert found.grade is Grade.WRONG
    assert f"docker network create {project}-net" in found.advice
    docker("network", "create", f"{project}-net")
    try:
        assert (await examined(project, network=f"{project}-net"))[checks.NETWORK].grade is Grade.OK
    finally:
        docker("network", "rm", f"{project}-net")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client closes no such sockets
@pytest.mark.parametrize("address", (Address(host="unix:///no/such/socket"), Address(host="tcp://127.0.0.1:9")))
async def test_no_engine_is_one_finding_with_what_to_do(address: Address) -> None:
    """Nothing else can be looked at then."""
    (found,) = [finding async for finding in checks.check(address, "mso", "")]
    assert (found.check, found.grade) == (checks.ENGINE, Grade.WRONG)
    assert "DOCKER_HOST" in found.advice


def test_a_limit_that_the_engine_does_not_know_is_a_warning() -> None:
    """As on a kernel without that control group."""
    able = {"MemoryLimit": True, "CpuCfsQuota": True, "PidsLimit": True}
    assert checks._limits(able).grade is Grade.OK
    found = checks._limits({**able, "MemoryLimit": False})
    assert found.grade is Grade.WARNING
    assert "memory" in found.what
    assert "CPU" not in found.what
