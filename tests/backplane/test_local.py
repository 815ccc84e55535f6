"""The local backplane, where it says more than the contract."""

import asyncio
import errno
import json
import os
import shutil
import stat
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from mso.backplane import BackplaneError, DeployError, Listed, local
from mso.backplane.attempts import AttemptFiles, all_attempts
from mso.backplane.images import Launch
from mso.backplane.lines import TAIL_BYTES
from mso.backplane.local import LocalBackplane
from mso.backplane.processes import Exits
from mso.backplane.shim import start
from mso.model import Failed, Model, Reason, RunKey, Succeeded
from tests.backplane.conftest import Machine, a_model
from tests.contract.stages import until
from tests.contract.watching import watching

pytestmark = pytest.mark.process

DUMP_ENVIRONMENT = """
import json, os
print(json.dumps({name.decode(): list(value) for name, value in os.environb.items()}))
"""


async def environment_of(machine: Machine, model: Model, **image: object) -> dict[str, str]:
    """What a model really finds in its environment."""
    command = [sys.executable, "-I", "-S", "-c", DUMP_ENVIRONMENT]
    async with machine.open(command, image) as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        assert isinstance(await watch.end(model.current), Succeeded)
        (line,) = await backplane.tail(model.current, 1)
    found = {name: bytes(value).decode("utf-8", "surrogatepass") for name, value in json.loads(line).items()}
    return {name: value for name, value in found.items() if name not in ("LC_CTYPE", "__CF_USER_TEXT_ENCODING")}


async def test_hostile_values_arrive_exact(machine: Machine) -> None:
    """No value is ever read by a shell, and no variable steers the shim (fault D7)."""
    hostile = {
        "QUOTES": "'\"`\\'' $(X) ${X} $X $$ !! * ~ ; exit 9 #",
        "LINES": "\na\r\n\n",
        "CONTROL": "".join(map(chr, range(1, 128))),
        "UNICODE": "".join(map(chr, range(128, 0x800))) + "🔥",
        "EMPTY": "",
        "IFS": "0123456789/",
        "PATH": "/nowhere",
        "PWD": "/nowhere",
        "OLDPWD": "elsewhere",
        "ENV": "/etc/passwd",
        "PS4": "$(exit 9)",
        "LD_PRELOAD": "",
        "POSIXLY_CORRECT": "1",
        "i": "1",
        "X" * 300: "y" * 100_000,
    }
    assert await environment_of(machine, a_model(environment=hostile)) == hostile


async def test_a_preloaded_library_meets_the_model_alone(machine: Machine) -> None:
    """What the message sets for the loader does not reach the shim, whose words would be in the log as well."""
    model = a_model(environment={"LD_PRELOAD": "/nowhere/library.so"})
    async with machine.open(["/bin/sh", "-c", "exit 4"]) as backplane, watching(backplane) as watch:
        await backplane.deploy(model)
        end = await watch.end(model.current)
        complaints = await backplane.tail(model.current, 30)
    assert isinstance(end, Failed)
    assert end.exit_code == 4
    assert len(complaints) <= 1


async def test_the_file_wins_over_the_message_and_path_is_that_of_mso(machine: Machine) -> None:
    """The environment is the message's, PATH, and what the file of images grants; the file has the last word."""
    model = a_model(environment={"A": "message", "B": "message"})
    found = await environment_of(machine, model, environment={"A": "file", "C": 3})
    assert found == {"A": "file", "B": "message", "C": "3", "PATH": os.environ["PATH"]}


async def test_of_duplicate_variables_the_last_wins(machine: Machine) -> None:
    """Whoever took the order has warned of it (fault D7)."""
    found = await environment_of(machine, a_model(environment=[("A", "first"), ("A", "last")]))
    assert found["A"] == "last"


@pytest.mark.parametrize(
    ("name", "value"),
    (("", "x"), ("a.b", "x"), ("A=B", "x"), ("1A", "x"), ("A\0", "x"), ("Ä", "x"), ("_mso_0", "x"), ("A", "s3cret\0")),
)
async def test_a_variable_that_cannot_be_handed_over_is_refused_by_name(
    machine: Machine, name: str, value: str
) -> None:
    """An environment that would arrive otherwise than asked for is a DeployError; values are not told."""
    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        with pytest.raises(DeployError) as refused:
            await backplane.deploy(a_model(environment={name: value}))
        assert await watch.listing() == {}
    assert refused.value.reason is Reason.DEPLOY_FAILED
    assert repr(name) in str(refused.value)
    assert "s3cret" not in str(refused.value)


async def test_an_environment_that_is_too_long_is_refused(machine: Machine) -> None:
    """What the kernel refuses to start is a DeployError in its words, and leaves nothing behind."""
    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        with pytest.raises(DeployError, match="too long") as refused:
            await backplane.deploy(a_model(environment={f"V{number}": "x" * 100_000 for number in range(100)}))
        assert refused.value.reason is Reason.DEPLOY_FAILED
        assert await watch.listing() == {}


async def test_troubles_that_pass_are_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is out of room or processes for a moment fails no model."""
    troubles = [errno.ENOSPC, errno.EAGAIN, errno.EMFILE]

    def troubled_start(files: AttemptFiles, model: Model, launch: Launch) -> int | None:
        if troubles:
            raise OSError(troubles.pop(), "no room")
        return start(files, model, launch)

    monkeypatch.setattr(local, "start", troubled_start)
    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        await backplane.deploy(a_model())
        assert isinstance(await watch.end(a_model().current), Succeeded)


async def test_troubles_that_stay_fail_the_model(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the deadline it is a DeployError, and the next MSO does not start it either."""
    model = a_model()

    def full(self: AttemptFiles) -> tuple[int, bool]:
        raise OSError(errno.ENOSPC, "no room")

    async with machine.open(["true"], deploy_seconds=0.1) as backplane:
        with monkeypatch.context() as patch:
            patch.setattr(local, "start", lambda files, *_: files.prepare(model, "boot") and full(files))
            with pytest.raises(DeployError, match="no room") as refused:
                await backplane.deploy(model)
        assert refused.value.reason is Reason.DEPLOY_FAILED
    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        assert await watch.listing() == {}


async def test_a_program_that_is_gone_ends_with_127(machine: Machine) -> None:
    """A program that was there when MSO began and is not any more fails like in a shell, and the log says why."""
    program = machine.scratch / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    async with machine.open([str(program)]) as backplane, watching(backplane) as watch:
        program.unlink()
        await backplane.deploy(a_model())
        end = await watch.end(a_model().current)
        assert isinstance(end, Failed)
        assert end.exit_code == 127
        assert "program" in (await backplane.tail(a_model().current, 1))[0]


async def test_a_model_runs_in_a_directory_of_its_own(machine: Machine) -> None:
    """Files that a model writes do not meet ours; the file of images may choose another directory."""
    shared = machine.scratch / "shared"
    shared.mkdir()
    async with machine.open(["sh", "-c", "pwd; : >exit"]) as backplane, watching(backplane) as watch:
        await backplane.deploy(a_model("one"))
        assert isinstance(await watch.end(a_model("one").current), Succeeded)
        assert await backplane.tail(a_model("one").current, 1) == (
            str(machine.files(a_model("one").current).path / "work"),
        )
    async with machine.open(["pwd"], {"directory": str(shared)}) as backplane, watching(backplane) as watch:
        await backplane.deploy(a_model("two"))
        assert isinstance(await watch.end(a_model("two").current), Succeeded)
        assert await backplane.tail(a_model("two").current, 1) == (str(shared),)


async def test_a_model_starts_with_default_signals_and_nothing_open(machine: Machine) -> None:
    """No signal is ignored or blocked, standard input is empty, and no descriptor of MSO or its shim is there."""
    program = """
import os, signal
ours = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP}  # which Python itself ignores, or nohup
print([s for s in signal.valid_signals() - ours if signal.getsignal(s) == signal.SIG_IGN])
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), os.read(0, 1))
"""
    async with machine.open([sys.executable, "-I", "-c", program]) as backplane, watching(backplane) as watch:
        await backplane.deploy(a_model())
        await watch.end(a_model().current)
        assert await backplane.tail(a_model().current, 30) == ("[]", "set() b''")
    async with (
        machine.open(["sh", "-c", "ls /dev/fd/ | sort -n | tail -n 1"]) as backplane,
        watching(backplane) as watch,
    ):
        await backplane.deploy(a_model("descriptors"))
        await watch.end(a_model("descriptors").current)
        assert await backplane.tail(a_model("descriptors").current, 30) == ("3",)  # the one that ls reads from


async def test_other_users_of_the_machine_see_no_secret(machine: Machine) -> None:
    """Values of variables are in files of our user only, and on no command line."""
    model = a_model(environment={"MQTT_PASSWORD": "s3cret"})
    async with machine.open(["sleep", "1000"]) as backplane:
        await backplane.deploy(model)
        files = machine.files(model.current)
        await until(lambda: files.started() is not None)
        started = files.started()
        assert started is not None
        assert "s3cret" not in str([process.cmdline() for process in [psutil.Process(started.pid)]])
        holders = [path for path in files.path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
        assert holders == [files.path / "model.json"]
        assert stat.S_IMODE(holders[0].stat().st_mode) == 0o600
        for directory in (machine.root, files.path):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_only_one_mso_works_in_a_state_directory(machine: Machine) -> None:
    """The second one is told which process is the first, and what to do; when the first is closed it may."""
    async with machine.open(["true"]):
        with pytest.raises(BackplaneError, match=rf"process {os.getpid()}.*MSO_STATE_DIR"):
            await machine.open(["true"]).__aenter__()
    async with machine.open(["true"]):
        pass


async def test_a_thousand_thin_models_start_and_end(machine: Machine) -> None:
    """Each one ends once, none is left as a zombie, and a new MSO lists all of them quickly."""
    models = [a_model(f"model-{number}") for number in range(1000)]
    ends: dict[object, object] = {}
    before = psutil.Process().children()
    async with machine.open(["/bin/sh", "-c", "exit 0"], resync_seconds=30) as backplane:
        stream = backplane.watch()
        await anext(stream)

        async def collect() -> None:
            async for heard in stream:
                assert not isinstance(heard, Listed)
                assert heard.attempt not in ends
                ends[heard.attempt] = heard.end
                if len(ends) == len(models):
                    return

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(collect())
            slots = asyncio.Semaphore(32)

            async def deploy(model: Model) -> None:
                async with slots:
                    await backplane.deploy(model)

            for model in models:
                tasks.create_task(deploy(model))
    assert all(isinstance(end, Succeeded) for end in ends.values())
    assert set(psutil.Process().children()) <= set(before)
    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        began = time.perf_counter()
        assert len(await watch.listing()) == len(models)
        assert time.perf_counter() - began < 5


async def test_ends_that_the_kernel_did_not_report_are_found_by_the_listing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of descriptors, following a process fails; the periodic listing still finds how it ended."""

    def no_descriptor(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Exits, "follow", no_descriptor)
    async with machine.open(["sh", "-c", "sleep 0.5; exit 6"]) as backplane, watching(backplane) as watch:
        with capture_logs() as logs:
            await backplane.deploy(a_model())
        assert [entry["event"] for entry in logs] == ["local.unfollowed"]
        end = await watch.end(a_model().current)
        assert isinstance(end, Failed)
        assert end.exit_code == 6


async def test_a_line_of_a_gigabyte_costs_a_mebibyte(machine: Machine) -> None:
    """However long the log and its lines are, the tail reads its last MiB (fault L3)."""
    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        await backplane.deploy(a_model())
        await watch.end(a_model().current)
        with machine.files(a_model().current).log.open("wb") as log:
            log.truncate(1 << 30)
            log.seek(0, os.SEEK_END)
            log.write(b"the end\n")
        tracemalloc.start()
        (line,) = await backplane.tail(a_model().current, 30)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert line.endswith("the end")
    assert len(line) < TAIL_BYTES
    assert peak < 8 * TAIL_BYTES


async def test_windows_line_ends_are_line_ends(machine: Machine) -> None:
    """A carriage return before the line feed belongs to it; one within a line is the model's business."""
    async with machine.open(["printf", r"one\r\n10%%\r20%%\r\ntwo"]) as backplane, watching(backplane) as watch:
        await backplane.deploy(a_model())
        await watch.end(a_model().current)
        assert await backplane.tail(a_model().current, 30) == ("one", "10%\r20%", "two")


async def test_a_damaged_file_of_a_model_costs_one_warning(machine: Machine) -> None:
    """What a loss of power did to one attempt keeps no other from being listed, and it goes with its run."""
    well, ill = a_model("well"), a_model("ill")
    async with machine.open(["true"]) as backplane:
        await backplane.deploy(well)
        await backplane.deploy(ill)
    (machine.files(ill.current).path / "model.json").write_bytes(b"")
    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        with capture_logs() as logs:
            for _ in range(3):
                assert (await watch.listing()).keys() == {well.current}
        assert [entry["event"] for entry in logs] == ["local.unreadable"]
        await backplane.remove_run(RunKey(ill.key.simulation, ill.key.run))
    assert not machine.files(ill.current).path.exists()


async def test_a_state_directory_that_cannot_be_written_is_unhealthy(machine: Machine) -> None:
    """Health says what is wrong, and where."""
    backplane: LocalBackplane
    async with machine.open(["true"]) as backplane:
        machine.root.rename(machine.scratch / "elsewhere")
        (complaint,) = await backplane.health()
        assert str(machine.root) in complaint


async def test_a_listing_that_fails_is_told_and_tried_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of descriptors, the watch does not end: health says why, and the next listing is complete."""
    troubled = True

    def troubled_listing(root: Path) -> Iterator[AttemptFiles]:
        if troubled:
            raise OSError(errno.EMFILE, "Too many open files")
        return all_attempts(root)

    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        await backplane.deploy(a_model())
        monkeypatch.setattr(local, "all_attempts", troubled_listing)
        listing = asyncio.create_task(watch.listing())
        async with asyncio.timeout(10):
            while not await backplane.health():
                await asyncio.sleep(0.005)
        assert "Too many open files" in str(await backplane.health())
        troubled = False
        assert (await listing).keys() == {a_model().current}
        assert await backplane.health() == ()


async def test_a_listing_that_does_not_come_is_unhealthy(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Health tells the age of the last listing when it is more than two of its turns and a little."""
    async with machine.open(["true"]) as backplane, watching(backplane) as watch:
        await watch.listing()
        later = time.monotonic() + 11
        monkeypatch.setattr(time, "monotonic", lambda: later)
        (complaint,) = await backplane.health()
        assert "11 s old" in complaint


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists() or shutil.which("dash") is None, reason="needs Linux and dash"
)
async def test_a_shim_takes_less_than_two_megabytes(machine: Machine) -> None:
    """Resident, shared pages included; those of its own are a tenth of it."""
    async with machine.open(["sleep", "1000"]) as backplane:
        await backplane.deploy(a_model(environment={"A": "b" * 1000}))
        files = machine.files(a_model().current)
        await until(lambda: files.started() is not None)
        started = files.started()
        assert started is not None
        await until(lambda: psutil.Process(started.pid).children() != [])
        rows = Path(f"/proc/{started.pid}/smaps_rollup").read_text().splitlines()[1:]
        kilobytes = {row.split(":")[0]: int(row.split()[1]) for row in rows}
    assert kilobytes["Rss"] < 2048
    assert kilobytes["Pss"] < 2048
