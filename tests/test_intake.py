"""The intake: whatever arrives is taken, refused with its reason, or put aside; and then the next one is served."""

import io
import logging
import math
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import EventDict

from mso import logs
from mso.aside import KEPT, Aside
from mso.changes import SimulationStopping
from mso.inventory import ObserverFailed
from mso.model import State, Succeeded
from mso.protocol.messages import lifecycle_pb2
from tests.builders import RUN, SIM, attempt, key, known, live_runs
from tests.intake_desk import CANARY, DEPLOY, DONE, MAX_BYTES, READY, Desk, payload


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "aside")


def warnings(logged: list[EventDict]) -> list[str]:
    return [entry["event"] for entry in logged if entry["log_level"] in ("warning", "error", "critical")]


# -- what is good -----------------------------------------------------------------------------------------------------


async def test_a_simulation_is_asked_for_announced_and_stopped(desk: Desk) -> None:
    """The three messages that MSO acts on do what they are for, and are acknowledged without a remark."""
    with capture_logs() as logged:
        await desk.take(DEPLOY, payload("a", "b"))
        await desk.take(READY)
        await desk.take(DONE)
    assert known(desk.inventory, key("a")).state is State.RUNNING
    assert known(desk.inventory, key("b")).state is State.CREATED
    run = desk.inventory.run(RUN)
    assert run
    assert run.stopping
    assert desk.acknowledged == [DEPLOY, READY, DONE]
    assert (desk.refused, desk.answers, warnings(logged)) == ([], [], [])


async def test_a_redelivery_changes_nothing_and_is_no_fault(desk: Desk) -> None:
    """The broker may say a thing twice: that is its right."""
    await desk.take(DEPLOY, payload("a"))
    desk.inventory.apply(attempt("a"), Succeeded())
    with capture_logs() as logged:
        await desk.take(DEPLOY, payload("a"), redelivered=True)
    assert live_runs(desk.inventory) == []
    assert (desk.refused, warnings(logged)) == ([], [])


async def test_a_rerun_that_an_earlier_process_did_not_take_is_no_redelivery(desk: Desk) -> None:
    """Its bytes are those of the run before, but it is another packet."""
    await desk.take(DEPLOY, payload("a"), packet=7)
    desk.inventory.apply(attempt("a"), Succeeded())
    await desk.take(DEPLOY, payload("a"), redelivered=True, packet=7)
    assert live_runs(desk.inventory) == []
    await desk.take(DEPLOY, payload("a"), redelivered=True, packet=8)
    assert [run.key.run for run in live_runs(desk.inventory)] == [2]


async def test_a_second_simulation_done_is_harmless(desk: Desk) -> None:
    """While the run is being stopped, and after it ended, it is no news."""
    await desk.take(DEPLOY, payload("a"))
    await desk.take(DONE)
    await desk.take(DONE)
    desk.inventory.apply(attempt("a"), Succeeded())
    await desk.take(DONE)
    assert [type(change) for change in desk.changes].count(SimulationStopping) == 1
    assert desk.refused == []


async def test_each_adjustment_is_one_warning_and_counted(desk: Desk) -> None:
    """What is let pass although it makes no sense is said."""
    with capture_logs() as logged:
        await desk.take(DEPLOY, payload("a", keepLogsHours=math.nan))
    assert warnings(logged) == ["order.adjusted"]
    assert desk.refused == ["adjusted"]
    assert desk.models == 1


async def test_an_observer_that_raises_ends_the_loop(desk: Desk) -> None:
    """It is no fault of the message, which is neither put aside nor acknowledged."""

    def stumble(_: object) -> None:
        raise ValueError("in an observer")

    desk.inventory.subscribe(stumble)
    with pytest.raises(ObserverFailed):
        await desk.take(DEPLOY, payload("a"))
    assert (desk.acknowledged, desk.refused) == ([], [])


# -- what is bad ------------------------------------------------------------------------------------------------------

REJECTED = {
    "undecodable": b"\xff\xff",
    "no models": b"",
    "no models, version 2": payload(protocolVersion=2),
    "an empty id": payload(""),
    "an id twice": payload("a", "a"),
    "an id that is no level of a topic": payload("a/b"),
    "an id that brokers hang up for": payload("a\n"),
    "a newer protocol": payload("a", protocolVersion=3),
    "an unknown policy": payload("a", protocolVersion=2, failurePolicy=9),
    "too large": payload("a" * 200) * 20,
}


async def test_the_table_of_what_is_too_large(desk: Desk) -> None:
    """It is a message that would be taken if it were allowed to be so large."""
    assert len(REJECTED["too large"]) > MAX_BYTES


@pytest.mark.parametrize("what", REJECTED)
async def test_an_order_that_cannot_be_taken_is_answered(desk: Desk, what: str) -> None:
    """One warning, one counter, acknowledged, a DeployModelsRejected to who asked; and the next one is served."""
    with capture_logs() as logged:
        await desk.take(DEPLOY, REJECTED[what])
    assert warnings(logged) == ["message.refused"]
    assert desk.refused == ["rejected"]
    assert desk.acknowledged == [DEPLOY]
    ((simulator, simulation, answer),) = desk.answers
    assert (simulator, simulation) == ("essim", SIM)
    said = lifecycle_pb2.DeployModelsRejected.FromString(answer)
    assert said.reason
    assert said.errors
    assert desk.models == 0
    await desk.take(DEPLOY, payload("a"))
    assert desk.models == 1


async def test_a_simulation_of_another_so_is_answered(desk: Desk) -> None:
    """The second SO hears that the id is taken; the first one's simulation is not touched."""
    await desk.take(DEPLOY, payload("a"))
    await desk.take(f"/lifecycle/dots-so/mso/{SIM}/DeployModels", payload("b"))
    assert [(simulator, simulation) for simulator, simulation, _ in desk.answers] == [("dots-so", SIM)]
    assert desk.models == 1


BAD: tuple[tuple[str, str, bytes, bool], ...] = (
    ("malformed_topic", "/lifecycle/essim/mso/DeployModels", payload("a"), False),
    ("malformed_topic", f"/lifecycle/essim/mso/{SIM}/extra/DeployModels", payload("a"), False),
    ("malformed_topic", "/lifecycle/essim/mso//DeployModels", payload("a"), False),
    ("malformed_topic", f"/lifecycle/model/mso/{SIM}/a/CalculationsDone", b"", False),
    ("malformed_topic", "", b"", False),
    ("unknown_simulator", f"/lifecycle/stranger/mso/{SIM}/DeployModels", payload("a"), False),
    ("unknown_simulator", f"/lifecycle/ESSIM/mso/{SIM}/SimulationDone", b"", False),
    ("retained", DEPLOY, payload("b"), True),
    ("retained", DONE, b"", True),
    ("retained", READY, b"", True),
    ("unknown_simulation", "/lifecycle/essim/mso/never/SimulationDone", b"", False),
    ("foreign_simulation", f"/lifecycle/dots-so/mso/{SIM}/SimulationDone", b"", False),
    ("unknown_model", f"/lifecycle/model/mso/{SIM}/never/ReadyForProcessing", b"", False),
    ("unknown_model", "/lifecycle/model/mso/never/a/ReadyForProcessing", b"", False),
    ("undecodable", READY, b"\xff", False),
    ("undecodable", DONE, b"\xff", False),
    ("too_large", READY, b"x" * (MAX_BYTES + 1), False),
    ("too_large", DONE, b"x" * (MAX_BYTES + 1), False),
)


@pytest.mark.parametrize(
    ("kind", "topic", "content", "retained"), BAD, ids=[f"{row[0]}-{number}" for number, row in enumerate(BAD)]
)
async def test_a_bad_message_costs_one_warning_and_nothing_else(
    desk: Desk, kind: str, topic: str, content: bytes, retained: bool
) -> None:
    """It is counted by its kind, acknowledged, answered by nothing that the protocol has no word for, and over."""
    await desk.take(DEPLOY, payload("a"))
    with capture_logs() as logged:
        await desk.take(topic, content, retained=retained)
    assert warnings(logged) == ["message.refused"]
    assert desk.refused == [kind]
    assert desk.acknowledged == [DEPLOY, topic]
    assert (desk.answers, desk.models) == ([], 1)
    assert known(desk.inventory, key("a")).state is State.CREATED
    await desk.take(READY)
    assert known(desk.inventory, key("a")).state is State.RUNNING


# -- what raises ------------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose inventory has a bug."""

    def add(order: object) -> None:
        secret = CANARY.upper().lower()
        raise ZeroDivisionError(len(secret))

    monkeypatch.setattr(desk.inventory, "add", add)
    return desk


async def test_a_message_whose_handling_raises_is_put_aside(broken: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, counted, acknowledged and kept for its owner's eyes only; the next valid message is served."""
    with capture_logs() as logged:
        await broken.take(DEPLOY, payload("a"))
    assert warnings(logged) == ["message.put_aside"]
    assert broken.refused == ["handler_raised"]
    assert broken.acknowledged == [DEPLOY]
    (kept,) = broken.folder.glob("*.payload")
    assert logged[0]["kept"] == str(kept)
    assert kept.read_bytes() == payload("a")
    assert kept.with_suffix(".topic").read_text() == f"{DEPLOY}\n"
    assert [stat.S_IMODE(path.stat().st_mode) for path in broken.folder.iterdir()] == [0o600, 0o600]
    assert stat.S_IMODE(broken.folder.stat().st_mode) == 0o700
    monkeypatch.undo()
    await broken.take(DEPLOY, payload("a"))
    assert broken.models == 1


async def test_messages_of_one_moment_are_all_put_aside(broken: Desk) -> None:
    """None takes the place of another, and each keeps its topic."""
    topics = [f"/lifecycle/essim/mso/sim-{number}/DeployModels" for number in range(10)]
    for topic in topics:
        await broken.take(topic, payload("a"))
    assert len(list(broken.folder.glob("*.payload"))) == 10
    assert sorted(path.read_text() for path in broken.folder.glob("*.topic")) == [f"{topic}\n" for topic in topics]


async def test_only_the_newest_are_kept_aside(tmp_path: Path) -> None:
    """A message that comes again and again does not fill the disk."""
    aside = Aside(tmp_path / "aside")
    kept = [await aside.keep(f"/topic/{number}", bytes([number])) for number in range(KEPT + 5)]
    assert sorted(str(path) for path in (tmp_path / "aside").glob("*.payload")) == kept[5:]
    assert len(list((tmp_path / "aside").iterdir())) == 2 * KEPT


async def test_what_cannot_be_kept_stops_nothing(broken: Desk) -> None:
    """A disk that is full, or a folder that is none, is said in the log."""
    broken.folder.write_text("in the way")
    with capture_logs() as logged:
        await broken.take(DEPLOY, payload("a"))
    assert logged[0]["kept"].startswith("not kept")
    assert broken.acknowledged == [DEPLOY]


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def log_of() -> Iterator[Callable[[str], io.StringIO]]:
    """Sets the log up at DEBUG, as the service would, into what is returned."""
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def configure(style: str) -> io.StringIO:
        stream = io.StringIO()
        logs.configure("DEBUG", style, stream)
        return stream

    yield configure
    structlog.configure(**before)
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("style", ("console", "json"))
async def test_no_secret_is_ever_logged_or_answered(
    desk: Desk, log_of: Callable[[str], io.StringIO], style: str
) -> None:
    """Whatever is wrong with a DeployModels, the passwords in it come out nowhere, also at DEBUG."""
    log = log_of(style)
    wrong = lifecycle_pb2.DeployModels.FromString(payload("", "a", "a", "x/y", protocolVersion=2, keepLogsHours=-1))
    for configuration in wrong.modelConfigurations:
        configuration.environmentVariables.add(name="MQTT_PASSWORD", value=CANARY, secretName="s")
        configuration.command.append(CANARY)
    for content in (payload("a"), wrong.SerializeToString(), payload("a") + b"\xff", payload("a") * 60, payload("b")):
        await desk.take(DEPLOY, content)
        await desk.take(DEPLOY, content, retained=True)
        await desk.take(f"/lifecycle/stranger/mso/{SIM}/DeployModels", content)
        await desk.take(READY, content)
        await desk.take(DONE, content)
    assert "message.refused" in log.getvalue()
    assert CANARY not in log.getvalue()
    assert all(CANARY.encode() not in answer for _, _, answer in desk.answers)


@pytest.mark.parametrize("style", ("console", "json"))
async def test_a_traceback_shows_no_secret(broken: Desk, log_of: Callable[[str], io.StringIO], style: str) -> None:
    """The log says where the handling raised, and not what the variables were there: one of them is the payload."""
    log = log_of(style)
    await broken.take(DEPLOY, payload("a"))
    assert "ZeroDivisionError" in log.getvalue()
    assert CANARY not in log.getvalue()
