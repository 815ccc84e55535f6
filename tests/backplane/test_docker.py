"""What is a Docker engine's own: deploying on it, its limits, how containers end, who else uses it."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mso.backplane import BackplaneError, DeployError, Mark
from mso.backplane.containers import ContainerSettings, container_config, mark_volume
from mso.backplane.docker_engine import Address, Engine, UnusableError, create
from mso.model import Failed, Model, Reason, Resources, RunKey, SimulationId, Succeeded
from tests.backplane.docker_desk import DEAF, ENDS_WELL_ON_TERM, Desk, a_model, desk, has_begun
from tests.contract.watching import watching
from tests.docker_engine import docker, host, inspect, script_image, volumes

pytestmark = [pytest.mark.docker, pytest.mark.process]

HOG = "taken = []\nwhile True: taken.append(b'x' * (8 << 20))"
STATUS = "import shutil, sys\nsys.stdout.write(open('/proc/self/status').read())"
CAT = ("cat", "/proc/self/status")
AS_ROOT_DOES = """\
import os
open("/tmp/mine", "w").close()
os.chown("/tmp/mine", 1000, 1000)
os.setgid(1000)
os.setuid(1000)
print(os.getuid())
"""


@pytest.fixture
def place() -> Iterator[Desk]:
    with desk() as made:
        yield made


# -- how containers end -----------------------------------------------------------------------------------------------


async def test_too_much_memory_is_oom_killed(place: Desk) -> None:
    """The limit holds, and the end says what it was."""
    model = a_model(HOG, resources=Resources(memory_limit="32Mi"))
    async with place.open() as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        end = await watch.end(model.current)
        assert isinstance(end, Failed)
        assert (end.exit_code, end.reason, end.message) == (
            137,
            Reason.OOM_KILLED,
            "it used more memory than its limit",
        )
        assert end.finished_at is not None
        assert "more memory" in (await backplane.warnings(model.current))[0]


@pytest.mark.parametrize("by_hand", ("rm --force", "kill"))
async def test_what_somebody_ends_by_hand_is_told(place: Desk, by_hand: str) -> None:
    """A container that is deleted is PodDeleted, without a time of its own; one that is killed ended with its code."""
    model = a_model()
    async with place.open() as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        await watch.listing()  # from here on it follows
        await asyncio.to_thread(docker, *by_hand.split(), place.name(model.current))
        end = await watch.end(model.current)
        assert isinstance(end, Failed)
        deleted = by_hand != "kill"
        assert end.exit_code == 137
        assert end.reason is (Reason.POD_DELETED if deleted else Reason.ERROR)
        assert (end.finished_at is None) is deleted
        assert (model.current in await watch.listing()) is not deleted


async def test_what_was_deleted_while_nobody_looked_is_missing(place: Desk) -> None:
    """The next listing does not have it, and the core knows what that means."""
    model = a_model()
    async with place.open() as backplane:
        await backplane.deploy(model)
    docker("rm", "--force", place.name(model.current))
    async with place.open() as backplane, watching(backplane) as watch:
        assert await watch.listing() == {}


async def test_an_end_that_a_removal_brought_about_is_known_as_such_by_a_later_instance(place: Desk) -> None:
    """Also one with exit code 0; what had ended by itself before keeps its time (as if killed between act and word)."""
    stopped, ended = a_model(ENDS_WELL_ON_TERM, "stopped"), a_model("print('bye')", "ended")
    async with place.open() as backplane:
        await backplane.deploy(stopped)
        await backplane.deploy(ended)
        await has_begun(place, stopped.current)
        await asyncio.to_thread(docker, "wait", place.name(ended.current))
        await backplane.stop_run(stopped.key.run_key)
    async with place.open() as backplane, watching(backplane) as watch:
        ends = {attempt: said.end for attempt, said in (await watch.listing()).items()}
        assert ends[stopped.current] == Succeeded(_started_at(ends[stopped.current]), None)
        end = ends[ended.current]
        assert isinstance(end, Succeeded)
        assert end.finished_at is not None
        assert await backplane.tail(stopped.current, 5) == ("here",)


async def test_a_model_that_is_deaf_to_sigterm_is_killed_after_the_grace(place: Desk) -> None:
    """And told as killed."""
    model = a_model(DEAF)
    async with place.open(terminate_grace_seconds=0.5) as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        await has_begun(place, model.current)
        await backplane.remove(model.current)
        assert not place.seen(model.current)["State"]["Running"]
        end = await watch.end(model.current)
        assert isinstance(end, Failed)
        assert (end.exit_code, end.message, end.finished_at) == (137, "killed by signal 9 (SIGKILL)", None)


async def test_a_model_without_a_handler_hears_sigterm(place: Desk) -> None:
    """It is not process 1, which the kernel spares: no time is lost with waiting for it."""
    model = a_model()
    async with place.open(terminate_grace_seconds=60) as backplane:
        await backplane.deploy(model)
        await has_begun(place, model.current)
        async with asyncio.timeout(30):
            await backplane.remove(model.current)
        assert place.seen(model.current)["State"]["ExitCode"] == 143


async def test_an_image_is_stopped_with_the_signal_that_it_wants(place: Desk) -> None:
    """STOPSIGNAL of its Dockerfile, as the engine and kubelets do it."""
    source = ENDS_WELL_ON_TERM.replace("SIGTERM", "SIGINT").replace("_exit(0)", "_exit(7)")
    model = a_model(image=script_image(source, more="STOPSIGNAL SIGINT"))
    async with place.open() as backplane:
        await backplane.deploy(model)
        await has_begun(place, model.current)
        await backplane.remove(model.current)
    assert place.seen(model.current)["State"]["ExitCode"] == 7


# -- deploying --------------------------------------------------------------------------------------------------------


async def test_what_was_created_and_never_started_is_started_by_the_next_instance(place: Desk) -> None:
    """MSO was killed between the two: it is listed as living, and begins."""
    model = a_model()
    await _create_only(place, model)
    async with place.open() as backplane, watching(backplane) as watch:
        assert (await watch.listing())[model.current].end is None
        await watch.listing()
        await has_begun(place, model.current)


async def test_what_was_created_and_never_started_goes_when_its_run_is_stopped(place: Desk) -> None:
    """Nothing ever ran, so there is no log to keep."""
    model = a_model()
    await _create_only(place, model)
    async with place.open() as backplane:
        await backplane.stop_run(model.key.run_key)
    assert place.all() == []
    assert place.volumes() == []


async def test_a_second_deployment_starts_what_the_first_had_created(place: Desk) -> None:
    """Whoever asks again, after a kill in between or an answer that never came, gets the same container."""
    model = a_model()
    identifier = await _create_only(place, model)
    async with place.open() as backplane:
        await backplane.deploy(model)
    (one,) = place.all()
    assert (one["Id"], one["State"]["Running"]) == (identifier, True)


async def test_what_an_earlier_request_left_is_deleted_and_what_lives_of_it_is_not(place: Desk) -> None:
    """The name is taken by a container of ours that was asked for before, for a ledger was lost."""
    earlier = a_model()
    later = replace(earlier, created_at=datetime.now(UTC))
    async with place.open() as backplane:
        await backplane.deploy(earlier)
        with pytest.raises(DeployError, match="of another request lives"):
            await backplane.deploy(later)
        await backplane.remove(earlier.current)
    async with place.open() as backplane:
        with pytest.raises(BackplaneError, match="left of an earlier request"):
            await backplane.deploy(later)
        await backplane.deploy(later)
        (one,) = place.all()
        assert one["State"]["Running"]


async def test_a_stranger_with_our_name_is_left_alone(place: Desk) -> None:
    """DeployFailed, and says whose fault it is."""
    model = a_model()
    name = place.name(model.current)
    docker("create", "--name", name, model.spec.image)
    try:
        before = inspect(name)
        async with place.open() as backplane, watching(backplane) as watch:
            with pytest.raises(DeployError, match="is there already, and it is not ours") as refused:
                await backplane.deploy(model)
            assert refused.value.reason is Reason.DEPLOY_FAILED
            await backplane.remove(model.current)
            await backplane.remove_run(model.key.run_key)
            assert await watch.listing() == {}
            with pytest.raises(BackplaneError, match="there is no container"):
                await backplane.tail(model.current, 5)
        assert inspect(name) == before
    finally:
        docker("rm", "--force", name)


async def test_two_projects_on_one_engine_do_not_meet(place: Desk) -> None:
    """The same attempt lives twice, and each MSO sees and removes its own."""
    model = a_model()
    with desk() as other:
        async with place.open() as one, other.open() as two, watching(two) as watch:
            await one.deploy(model)
            assert await watch.listing() == {}
            await two.deploy(model)
            await one.mark(model.key.run_key, Mark.READY)
            assert (await watch.listing())[model.current].recall().marks == frozenset()
            await two.remove_run(model.key.run_key)
            (left,) = place.all()
            assert left["State"]["Running"]
            assert other.all() == []


@pytest.mark.parametrize(
    ("wishes", "reason", "words"),
    (
        ({"image": "Not An Image"}, Reason.IMAGE_PULL_FAILED, "invalid reference format"),
        ({"resources": Resources(memory_limit="1k")}, Reason.DEPLOY_FAILED, "memory limit"),
        ({"resources": Resources(cpu_limit="fast")}, Reason.DEPLOY_FAILED, "no quantity"),
        ({"resources": Resources(gpus=1)}, Reason.UNSCHEDULABLE, "this engine has no GPUs for containers"),
    ),
)
async def test_what_can_never_run_is_refused_in_the_words_of_the_engine(
    place: Desk, wishes: dict[str, object], reason: Reason, words: str
) -> None:
    """At once, and nothing of it is left."""
    if reason is Reason.UNSCHEDULABLE and "nvidia" in docker("info", "--format", "{{.Runtimes}}"):
        pytest.skip("this engine has GPUs")
    model = a_model(**wishes)  # type: ignore[arg-type]
    async with place.open() as backplane:
        with pytest.raises(DeployError, match=f"(?i){words}") as refused:
            await backplane.deploy(model)
    assert refused.value.reason is reason
    assert place.all() == []


async def test_a_command_that_is_not_in_the_image_is_an_end_with_127(place: Desk) -> None:
    """The init before it finds out, and says so in the log."""
    model = a_model(command=("/no/such/program",))
    async with place.open() as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        end = await watch.end(model.current)
        assert isinstance(end, Failed)
        assert end.exit_code == 127
        assert "/no/such/program" in (await backplane.tail(model.current, 5))[-1]


# -- what a container is ----------------------------------------------------------------------------------------------


async def test_limits_are_set(place: Desk) -> None:
    """The engine has them as they were asked for."""
    resources = Resources(cpu_request="100m", memory_request="32Mi", cpu_limit="500m", memory_limit="64Mi")
    model = a_model(resources=resources)
    async with place.open() as backplane:
        await backplane.deploy(model)
    limits = place.seen(model.current)["HostConfig"]
    assert {name: limits[name] for name in ("CpuShares", "CpuPeriod", "CpuQuota", "Memory", "MemoryReservation")} == {
        "CpuShares": 102,
        "CpuPeriod": 100_000,
        "CpuQuota": 50_000,
        "Memory": 64 << 20,
        "MemoryReservation": 32 << 20,
    }


async def test_a_container_is_safe_by_default_and_root_does_what_images_do_as_root(place: Desk) -> None:
    """No new privileges, no raw sockets, no devices; files are given away, and the program becomes somebody else."""
    status, root = a_model(STATUS, "status"), a_model(AS_ROOT_DOES, "root")
    async with place.open() as backplane, watching(backplane) as watch:
        for model in (status, root):
            await backplane.deploy(model)
            assert isinstance(await watch.end(model.current), Succeeded)
        lines = dict(line.split(":\t", 1) for line in await backplane.tail(status.current, 100) if ":\t" in line)
        assert await backplane.tail(root.current, 5) == ("1000",)
    assert lines["NoNewPrivs"] == "1"
    net_raw, mknod = 1 << 13, 1 << 27
    assert not int(lines["CapEff"], 16) & (net_raw | mknod)


async def test_restricted_takes_no_image_that_runs_as_root(place: Desk) -> None:
    """MSO_POD_SECURITY=restricted: refused and named; somebody else runs, without any capability."""
    root, nobody = a_model(STATUS, "root"), a_model("", "nobody", image=script_image(STATUS, user="65534"), command=CAT)
    async with place.open(restricted=True) as backplane, watching(backplane) as watch:
        with pytest.raises(DeployError, match="runs as root, and MSO_POD_SECURITY is restricted"):
            await backplane.deploy(root)
        await backplane.deploy(nobody)
        assert isinstance(await watch.end(nobody.current), Succeeded)
        assert any(line.startswith("CapBnd:\t0000000000000000") for line in await backplane.tail(nobody.current, 100))
    assert len(place.all()) == 1


async def test_models_are_on_the_network_that_is_named(place: Desk) -> None:
    """One that is not there is named at the start, and not model after model."""
    with pytest.raises(UnusableError, match=f"MSO_DOCKER_NETWORK: .*{place.project}"):
        async with place.open(network=place.project):
            pass
    docker("network", "create", place.project)
    try:
        model = a_model()
        async with place.open(network=place.project) as backplane:
            await backplane.deploy(model)
            assert place.seen(model.current)["NetworkSettings"]["Networks"].keys() == {place.project}
            await backplane.remove_run(model.key.run_key)
    finally:
        docker("network", "rm", place.project)


async def test_nameless_volumes_go_with_the_run(place: Desk) -> None:
    """An image that declares a volume leaves none behind."""
    model = a_model(image=script_image("import time; time.sleep(600)", more="VOLUME /data"))
    async with place.open() as backplane:
        await backplane.deploy(model)
        (mount,) = place.seen(model.current)["Mounts"]
        await backplane.remove_run(model.key.run_key)
    assert mount["Name"] not in volumes()


async def test_notes_of_a_run_that_is_gone_are_cleared_away(place: Desk) -> None:
    """MSO was killed in the middle of a removal: a run of the same number does not have the marks of that one."""
    gone, model = RunKey(SimulationId("gone"), 1), a_model()
    for run in (gone, model.key.run_key):
        note = mark_volume(place.project, run, Mark.READY)
        labels = [part for name, text in note["Labels"].items() for part in ("--label", f"{name}={text}")]
        docker("volume", "create", *labels, note["Name"])
    async with place.open() as backplane:
        await backplane.deploy(model)
    async with place.open() as backplane, watching(backplane) as watch:
        listing = await watch.listing()
        assert listing[model.current].recall().marks == {Mark.READY}
        assert place.volumes() == [mark_volume(place.project, model.key.run_key, Mark.READY)["Name"]]


async def _create_only(place: Desk, model: Model) -> str:
    """What an MSO leaves that is killed between create and start."""
    config = container_config(model, ContainerSettings(project=place.project))
    name = place.name(model.current)
    return await Engine(Address(host=host())).call(lambda client: create(client, name, config))


def _started_at(end: object) -> datetime | None:
    return end.started_at if isinstance(end, Succeeded | Failed) else None
