"""Kills of MSO, of shims and of models: nothing is started twice, no end is lost, no process is left."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mso.backplane.processes import boot_id, start_time
from mso.backplane.shim import inspect
from mso.model import NO_EXIT_CODE, Attempt, End, Failed, Reason, RunKey, Succeeded
from tests.backplane.conftest import Machine, a_model
from tests.contract.stages import until
from tests.contract.watching import watching

pytestmark = pytest.mark.process

MODELS = 250
LIVES = 20
SLEEP = ["sleep", "1000"]


async def shim_of(machine: Machine, attempt: Attempt) -> psutil.Process:
    """The shim, once its model runs."""
    files = machine.files(attempt)
    await until(lambda: files.started() is not None)
    started = files.started()
    assert started is not None
    shim = psutil.Process(started.pid)
    await until(lambda: shim.children() != [])
    return shim


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def failed(end: End | None) -> tuple[int, Reason]:
    assert isinstance(end, Failed)
    return end.exit_code, end.reason


async def test_kills_of_mso_at_any_instant_start_nothing_twice_and_lose_no_exit_code(machine: Machine) -> None:
    """Every model that any of the killed MSOs was asked for runs exactly once, and its exit code is known."""
    starts = machine.scratch / "starts"
    starts.mkdir()
    # Each attempt has a working directory of its own, so its path is the name of what was started.
    command = ["sh", "-c", f'echo . >>"{starts}/$(pwd | tr / _)"; sleep 0.05; exit 7']
    seed = random.randrange(1 << 30)
    async with machine.open(command):
        pass  # writes the file of images
    deployer = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("deployer.py")),
        str(machine.scratch / "state"),
        str(machine.scratch / "images.yaml"),
        *map(str, (MODELS, LIVES, seed)),
    )
    assert await asyncio.wait_for(deployer.wait(), 60) == 0, f"seed {seed}"
    models = [a_model(f"model-{number}") for number in range(MODELS)]
    async with machine.open(command, resync_seconds=30) as backplane, watching(backplane) as watch:
        await watch.listing()
        await asyncio.gather(*(backplane.deploy(model) for model in models))
        await until(lambda: all(machine.files(model.current).end() for model in models))
    async with machine.open(command) as backplane, watching(backplane) as watch:
        listing = await watch.listing()
    assert {failed(listing[model.current].end) for model in models} == {(7, Reason.ERROR)}, f"seed {seed}"
    assert len(listing) == MODELS
    counts = {path.name: path.read_text().count(".") for path in starts.iterdir()}
    assert len(counts) == MODELS, f"seed {seed}"
    assert set(counts.values()) == {1}, f"seed {seed}"


async def test_an_attempt_that_was_prepared_and_never_started_is_started_by_the_next_mso(machine: Machine) -> None:
    """A kill between writing the model down and starting it loses nothing: the next first listing starts it."""
    model = a_model()
    assert machine.files(model.current).prepare(model, boot_id())
    async with machine.open(["sh", "-c", "exit 3"]) as backplane, watching(backplane) as watch:
        assert failed(await watch.end(model.current)) == (3, Reason.ERROR)


async def test_a_prepared_attempt_whose_image_is_gone_ends_as_failed(machine: Machine) -> None:
    """What can no longer be started is reported, not forgotten."""
    model = a_model(image="gone")
    assert machine.files(model.current).prepare(model, boot_id())
    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        assert failed(await watch.end(model.current)) == (NO_EXIT_CODE, Reason.IMAGE_PULL_FAILED)


async def test_a_prepared_attempt_that_is_removed_is_never_started(machine: Machine) -> None:
    """A stop that comes before the start wins, for this MSO and the next."""
    model = a_model()
    files = machine.files(model.current)
    assert files.prepare(model, boot_id())
    for _ in range(2):
        async with machine.open(["true"]) as backplane:
            await backplane.remove(model.current)
            await backplane.deploy(model)
            async with watching(backplane) as watch:
                assert failed((await watch.listing())[model.current].end) == (NO_EXIT_CODE, Reason.ERROR)
    assert not files.began()


async def test_after_a_restart_of_the_machine_what_ran_is_lost_with_it(machine: Machine) -> None:
    """Another boot: no process can be ours whatever its pid, and nothing is started a second time."""
    ran, prepared, ended = a_model("ran"), a_model("prepared"), a_model("ended")
    for model in (ran, prepared, ended):
        assert machine.files(model.current).prepare(model, "another boot")
    bystander = psutil.Process()
    (machine.files(ran.current).path / "started").write_text(f"{bystander.pid} another-boot 1\n")
    (machine.files(ended.current).path / "started").write_text("1 another-boot 1\n")
    (machine.files(ended.current).path / "exit").write_text("0\n")
    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        await backplane.deploy(prepared)
        listing = await watch.listing()
        for model in (ran, prepared):
            end = listing[model.current].end
            assert failed(end) == (NO_EXIT_CODE, Reason.NODE_LOST)
            assert isinstance(end, Failed)
            assert end.message == "the machine was restarted"
        assert isinstance(listing[ended.current].end, Succeeded)
        await backplane.remove_run(RunKey(ran.key.simulation, 1))
    assert not machine.files(prepared.current).path.exists()


async def test_a_shim_that_is_killed_takes_its_model_along(machine: Machine) -> None:
    """kill -9 of a shim ends the model as lost, and kills what the shim left."""
    model = a_model()
    async with machine.open(SLEEP) as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        shim = await shim_of(machine, model.current)
        (child,) = shim.children()
        await watch.listing()
        shim.kill()
        assert failed(await watch.end(model.current)) == (137, Reason.POD_DELETED)
    await until(lambda: not lives(child.pid))


async def test_a_shim_that_was_killed_while_no_mso_was_there_is_found(machine: Machine) -> None:
    """The next MSO finds what the shim left, kills it, and reports the model as lost."""
    model = a_model()
    async with machine.open(SLEEP) as backplane:
        await backplane.deploy(model)
        shim = await shim_of(machine, model.current)
    (child,) = shim.children()
    shim.kill()
    async with machine.open(SLEEP) as backplane, watching(backplane) as watch:
        assert failed(await watch.end(model.current)) == (137, Reason.POD_DELETED)
    await until(lambda: not lives(child.pid))


async def test_a_model_that_is_killed_says_by_which_signal(machine: Machine) -> None:
    """kill -9 of the model itself is an exit code like any other (the kernel does it when memory runs out)."""
    model = a_model()
    async with machine.open(SLEEP) as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        (child,) = (await shim_of(machine, model.current)).children()
        child.kill()
        end = await watch.end(model.current)
        assert isinstance(end, Failed)
        assert (end.exit_code, end.reason, end.message) == (137, Reason.ERROR, "killed by signal 9 (SIGKILL)")
        assert await backplane.tail(model.current, 30) == ()


async def test_a_signal_for_the_shim_loses_no_exit_code(machine: Machine) -> None:
    """TERM, INT, QUIT and HUP for the shim alone are survived: the model goes on, and its own end is what counts."""
    model = a_model()
    async with machine.open(SLEEP) as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        shim = await shim_of(machine, model.current)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            shim.send_signal(number)
        (child,) = shim.children()
        child.send_signal(signal.SIGINT)
        assert failed(await watch.end(model.current)) == (130, Reason.ERROR)


async def test_what_a_model_leaves_behind_ends_with_it(machine: Machine) -> None:
    """Grandchildren are in the group of the shim, which ends as a whole."""
    command = ["sh", "-c", "sleep 1000 & echo $!; (sleep 1000 & echo $!); exit 0"]
    async with machine.open(command) as backplane, watching(backplane) as watch:
        await backplane.deploy(a_model())
        assert isinstance(await watch.end(a_model().current), Succeeded)
        orphans = [int(pid) for pid in await backplane.tail(a_model().current, 30)]
    assert len(orphans) == 2
    await until(lambda: not any(map(lives, orphans)))


async def test_a_model_that_ignores_sigterm_is_killed_after_the_grace(machine: Machine) -> None:
    """SIGKILL goes to the whole group; when remove returns nothing of it lives, and the exit code is 137."""
    command = ["sh", "-c", "trap '' TERM; sleep 1000 & echo $!; echo $$; wait"]
    model = a_model()
    async with machine.open(command, terminate_grace_seconds=0.3) as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        await until(lambda: machine.files(model.current).log.read_text().count("\n") == 2)
        began = time.monotonic()
        await backplane.remove(model.current)
        assert 0.3 <= time.monotonic() - began < 10
        assert not any(lives(int(pid)) for pid in await backplane.tail(model.current, 2))
        assert failed(await watch.end(model.current)) == (137, Reason.ERROR)
    async with machine.open(command) as backplane, watching(backplane) as watch:
        assert failed((await watch.listing())[model.current].end) == (137, Reason.ERROR)


async def test_a_model_that_obeys_sigterm_keeps_its_own_exit_code(machine: Machine) -> None:
    """TERM comes first, to the model as well as to its children; what it then ends with is the truth."""
    command = ["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait $!; done"]
    model = a_model()
    async with machine.open(command) as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        await until(lambda: machine.files(model.current).log.read_text() == "ready\n")
        await backplane.remove(model.current)
        assert isinstance(await watch.end(model.current), Succeeded)


async def test_an_end_that_a_removal_brought_about_is_not_dated(machine: Machine) -> None:
    """Clocks lag and jump: that it has no time, and no comparison of times, tells it from an end of its own."""
    async with machine.open(["sleep", "60"]) as backplane, watching(backplane) as watch:
        for number in range(20):
            model = a_model(f"model-{number}")
            await backplane.deploy(model)
            await shim_of(machine, model.current)
            await backplane.remove(model.current)
            end = await watch.end(model.current)
            assert end.finished_at is None


async def test_a_stopped_process_can_be_removed(machine: Machine) -> None:
    """SIGSTOP for the whole group does not keep it from hearing SIGTERM."""
    model = a_model()
    async with machine.open(SLEEP, terminate_grace_seconds=20) as backplane:
        await backplane.deploy(model)
        shim = await shim_of(machine, model.current)
        os.killpg(shim.pid, signal.SIGSTOP)
        began = time.monotonic()
        await backplane.remove(model.current)
        assert time.monotonic() - began < 10
        assert not lives(shim.pid)


async def test_a_pid_that_was_used_again_is_left_alone(machine: Machine) -> None:
    """Who has the pid of a shim that is gone, but not its start time, is somebody else: neither adopted nor killed."""
    model = a_model()
    bystander = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        files = machine.files(model.current)
        assert files.prepare(model, boot_id())
        (files.path / "started").write_text(f"{bystander.pid} {boot_id()} 12345\n")
        assert start_time(bystander.pid) != "12345"
        async with machine.open(["true"]) as backplane, watching(backplane) as watch:
            assert failed((await watch.listing())[model.current].end) == (137, Reason.POD_DELETED)
            await backplane.remove_run(RunKey(model.key.simulation, 1))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
async def test_a_full_disk_hides_no_exit_code_from_an_mso_that_is_there(machine: Machine) -> None:
    """A shim that cannot write the exit code down ends with it."""
    model = a_model()
    async with machine.open(["sh", "-c", "ln -s /dev/full ../exit.tmp; exit 5"]) as backplane:
        async with watching(backplane) as watch:
            await backplane.deploy(model)
            assert failed(await watch.end(model.current)) == (5, Reason.ERROR)


async def test_a_shim_that_cannot_say_who_it_is_runs_nothing(machine: Machine) -> None:
    """Without a durable word that it begins the model is not run, is reported, and is never tried again."""
    model = a_model()
    files = machine.files(model.current)
    files.path.mkdir(parents=True)
    (files.path / "started").symlink_to("nowhere/started")  # like a full disk: it is not there, and cannot be written
    async with machine.open(["touch", str(machine.scratch / "ran")]) as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        assert failed(await watch.end(model.current)) == (NO_EXIT_CODE, Reason.DEPLOY_FAILED)
    assert inspect(files) == Failed(NO_EXIT_CODE, Reason.DEPLOY_FAILED, f"the shim could not begin; see {files.log}")
    assert not (machine.scratch / "ran").exists()


async def test_files_that_somebody_deletes_hide_no_end(machine: Machine) -> None:
    """A model whose directory is deleted behind our back runs on, and its end is still learned."""
    model = a_model()
    async with machine.open(["sh", "-c", "echo >ready; while [ -e ready ]; do sleep 0.01; done; exit 9"]) as backplane:
        async with watching(backplane) as watch:
            await backplane.deploy(model)
            files = machine.files(model.current)
            await until((files.path / "work" / "ready").exists)
            files.path.rename(machine.scratch / "elsewhere")
            (machine.scratch / "elsewhere" / "work" / "ready").unlink()
            assert failed(await watch.end(model.current)) == (9, Reason.ERROR)
