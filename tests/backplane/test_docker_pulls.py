"""Images that the engine lacks, pulled by a real engine from a registry of this test."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mso.backplane import BackplaneError, DeployError, image_pulls
from mso.model import Reason
from tests.backplane.docker_desk import Desk, a_model, desk
from tests.docker_engine import docker
from tests.registry import Registry, basic

pytestmark = [pytest.mark.docker, pytest.mark.process]


@pytest.fixture
def place() -> Iterator[Desk]:
    with desk() as made:
        yield made


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        try:
            yield registry
        finally:
            docker("image", "rm", "--force", registry.image, check=False)


def is_here(image: str) -> bool:
    return bool(docker("image", "inspect", image, check=False).strip("[]\n"))


async def test_an_image_that_is_lacking_is_pulled(place: Desk, registry: Registry) -> None:
    """And then its container is made; what it runs does not matter here: it has nothing that could run."""
    model = a_model(image=registry.image)
    async with place.open() as backplane:
        await backplane.deploy(model)
        assert is_here(registry.image)
        assert place.seen(model.current)["Config"]["Image"] == registry.image


async def test_an_image_that_is_here_is_not_pulled(place: Desk, registry: Registry) -> None:
    """Unless MSO_IMAGE_PULL_POLICY is Always: then each new container asks, and one that is there does not."""
    async with place.open() as backplane:
        await backplane.deploy(a_model(image=registry.image))
        asked = registry.asked
        await backplane.deploy(a_model(name="other", image=registry.image))
        assert registry.asked == asked
    model = a_model(name="third", image=registry.image)
    async with place.open(pull_policy="Always") as backplane:
        await backplane.deploy(model)
        assert registry.asked > asked
        asked = registry.asked
    async with place.open(pull_policy="Always") as backplane:
        await backplane.deploy(model)
        assert registry.asked == asked


async def test_never_is_never(place: Desk, registry: Registry) -> None:
    """MSO_IMAGE_PULL_POLICY=Never: what is not here is refused, and nobody is asked for it."""
    async with place.open(pull_policy="Never") as backplane:
        with pytest.raises(DeployError, match="MSO_IMAGE_PULL_POLICY is Never") as refused:
            await backplane.deploy(a_model(image=registry.image))
    assert refused.value.reason is Reason.IMAGE_PULL_FAILED
    assert registry.asked == 0


async def test_many_models_of_one_image_pull_it_once(place: Desk, registry: Registry) -> None:
    """However many wait for it."""
    async with place.open() as backplane:
        await asyncio.gather(*(backplane.deploy(a_model(name=f"m{one}", image=registry.image)) for one in range(5)))
    assert registry.asked == 1
    assert len(place.all()) == 5


async def test_an_image_that_does_not_exist_fails_at_once(place: Desk, registry: Registry) -> None:
    """No second try would help; in the words of the engine, and with the name of the image."""
    image = f"{registry.host}/nobody:2"
    async with place.open(image_pull_grace=60.0) as backplane:
        with pytest.raises(DeployError, match=f"image {image} cannot be pulled: .*manifest unknown") as refused:
            await backplane.deploy(a_model(image=image))
    assert refused.value.reason is Reason.IMAGE_PULL_FAILED
    assert place.all() == []


async def test_a_registry_that_ails_is_asked_again_until_the_grace_is_over(place: Desk, registry: Registry) -> None:
    """It may pass, so whoever deploys tries again; one that goes on for too long is ImagePullFailed."""
    registry.fails = 10_000
    model = a_model(image=registry.image)
    async with place.open(image_pull_grace=0.5) as backplane:
        with pytest.raises(BackplaneError, match="cannot be pulled") as passing:
            await backplane.deploy(model)
        assert not isinstance(passing.value, DeployError)
        await asyncio.sleep(0.5)  # the grace is a span of time
        with pytest.raises(DeployError, match="cannot be pulled") as refused:
            await backplane.deploy(model)
        assert refused.value.reason is Reason.IMAGE_PULL_FAILED
        registry.fails = 0
        await backplane.deploy(model)


async def test_a_pull_that_takes_long_goes_on_while_its_deployment_is_asked_for_again(
    place: Desk, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a simulation can be stopped while its images are pulled."""
    monkeypatch.setattr(image_pulls, "WAIT_SECONDS", 0.3)
    registry.opened.clear()
    model = a_model(image=registry.image)
    async with place.open() as backplane:
        for _ in range(2):
            with pytest.raises(BackplaneError, match=f"image {registry.image} is being pulled"):
                await backplane.deploy(model)
        registry.opened.set()
        monkeypatch.setattr(image_pulls, "WAIT_SECONDS", 60.0)
        await backplane.deploy(model)
    assert registry.asked == 1


async def test_a_private_registry_is_asked_with_the_credentials_of_the_command_line(
    place: Desk, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of its file, read anew for each pull; without them the model fails at once, and says why."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    registry.credentials = "somebody", "s3cret"
    model = a_model(image=registry.image)
    async with place.open(image_pull_grace=60.0) as backplane:
        with pytest.raises(DeployError, match="no basic auth credentials"):
            await backplane.deploy(model)
        auths = {registry.host: {"auth": basic(*registry.credentials)}}
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
        await backplane.deploy(model)
