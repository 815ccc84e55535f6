"""The doctor: everything has its turn, whatever fails or hangs beside it."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from mso import config, doctor
from mso.checkup import Checks, Finding, Grade, Unawaited, ok, timed
from tests.test_cli import mso

SILENT = {"SIMULATOR_NAME": "so", "MSO_HTTP_PORT": "0"}


@pytest.fixture
def configuration(tmp_path: Path) -> config.Config:
    return config.load({"SIMULATOR_NAME": "so", "MSO_STATE_DIR": str(tmp_path)})


async def well() -> Checks:
    yield ok("well", "all is well")


async def hangs() -> Checks:
    yield ok("before", "so far")
    await asyncio.Event().wait()


async def raises() -> Checks:
    yield ok("before", "so far")
    raise LookupError("a bug")


async def blocks() -> Checks:
    def work() -> Finding:
        time.sleep(300)
        return ok("disk", "late")

    yield await timed("disk", asyncio.to_thread(work), seconds=0.1)


async def examined(
    configuration: config.Config, monkeypatch: pytest.MonkeyPatch, edges: Mapping[str, Checks]
) -> list[tuple[str, Grade]]:
    monkeypatch.setattr(doctor, "all_checks", lambda _: edges)
    return [(one.check, one.grade) async for one in doctor.examine(configuration, seconds=0.3)]


async def test_what_hangs_or_fails_keeps_nothing_else_from_its_turn(
    configuration: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had found before counts; that the rest is not known is wrong."""
    assert await examined(
        configuration, monkeypatch, {"network": hangs(), "cluster": raises(), "ledger": blocks(), "port": well()}
    ) == [
        ("before", Grade.OK),
        ("network", Grade.WRONG),
        ("before", Grade.OK),
        ("cluster", Grade.WRONG),
        ("disk", Grade.WRONG),
        ("well", Grade.OK),
    ]


def test_nobody_waits_for_a_thread_that_hangs(configuration: config.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the end of the event loop, which waits minutes for threads of its own."""
    began = time.monotonic()
    asyncio.run(examined(configuration, monkeypatch, {"ledger": blocks()}))
    assert time.monotonic() - began < 60


async def test_a_thread_gives_back_what_its_work_returns_or_raises() -> None:
    """As any executor does."""
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(Unawaited(), lambda: 7) == 7
    with pytest.raises(LookupError):
        await loop.run_in_executor(Unawaited(), lambda: {"b": 1}["a"])


def test_a_configuration_that_cannot_be_used_is_wrong(tmp_path: Path) -> None:
    """Status 1, a finding for each mistake, and no other."""
    told = mso("doctor", "--json", directory=tmp_path, MQTT_PORT="many")
    assert told.returncode == 1
    found = json.loads(told.stdout)
    assert found["ok"] is False
    assert {one["check"] for one in found["checks"]} == {"configuration"}
    assert sorted(one["what"].split()[0] for one in found["checks"]) == ["MQTT_PORT:", "SIMULATOR_NAME"]


def test_without_anything_everything_is_looked_at(tmp_path: Path) -> None:
    """No broker and no cluster: both are told, with what to do, in time, and nothing is made."""
    began = time.monotonic()
    told = mso(
        "doctor", directory=tmp_path, MQTT_HOST="127.0.0.1", MQTT_PORT="9", KUBECONFIG=str(tmp_path / "none"), **SILENT
    )
    assert time.monotonic() - began < 60
    assert told.returncode == 1
    graded = {line[9:].split("  ")[0].strip(): line.split()[0] for line in told.stdout.splitlines() if line[:1] != " "}
    assert graded["broker"] == graded["cluster"] == "wrong"
    assert graded["state directory"] == graded["ledger"] == "ok"
    assert "start the broker" in told.stdout
    assert "KUBERNETES_API_TOKEN" in told.stdout
    assert told.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_template_that_cannot_be_used_is_told_beside_the_rest(tmp_path: Path) -> None:
    """It keeps nothing else from its turn."""
    (tmp_path / "template.yaml").write_text("containers: []")
    told = mso(
        *("doctor", "--json"),
        directory=tmp_path,
        MSO_POD_TEMPLATE_FILE="template.yaml",
        MQTT_PORT="9",
        KUBECONFIG="none",
        **SILENT,
    )
    found = {one["check"]: one for one in json.loads(told.stdout)["checks"]}
    assert "'containers' is unknown" in found["pod template"]["what"]
    assert found["cluster"]["grade"] == "wrong"
