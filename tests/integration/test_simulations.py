"""Whole simulations: a real `mso run`, a real Mosquitto, real processes, and a peer that knows only the protocol."""

import os
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import StartMosquitto, StartMso
from tests.mosquitto import Mosquitto
from tests.peer import Heard, Peer, configuration, order
from tests.service import MsoProcess


@pytest.fixture
def mosquitto(start_mosquitto: StartMosquitto) -> Mosquitto:
    """One that keeps all in memory: to save every change would be most of what these tests take."""
    return start_mosquitto(persistence=False)


def ends(heard: list[Heard]) -> dict[str, tuple[int, int]]:
    """Status and exit code by model; each model once."""
    told = [message for message in heard if message.name == "ModelHasTerminated"]
    assert max(Counter(message.model for message in told).values(), default=1) == 1, "a model was reported twice"
    return {message.model: (message.end.status, message.end.exitCode) for message in told}


def gate(directory: Path, model: str) -> Path:
    path = directory / f"gate-{model}"
    os.mkfifo(path)
    return path


def test_four_models_are_deployed_and_each_end_is_reported_in_version_1_bytes(mso: MsoProcess, peer: Peer) -> None:
    """A version-1 orchestrator hears of each end in exact version-1 bytes, and of the whole at last."""
    peer.deploy(
        "sim",
        order(
            configuration("m0", "ends:code", CODE="0"),
            configuration("m1", "ends:code", CODE="1"),
            configuration("m2", "ends:code", CODE="2"),
            configuration("m3", "ends:0"),
        ),
    )
    heard = peer.wait_for_end("sim")
    payloads = {message.model: message.payload for message in heard if message.model}
    assert payloads == {"m0": b"", "m1": b"\x08\x01\x10\x01", "m2": b"\x08\x01\x10\x02", "m3": b""}
    assert heard[-1].topic == "/lifecycle/mso/test-so/sim/AllModelsHaveTerminated"
    assert heard[-1].payload == b""
    assert not any(message.retained for message in heard)


def test_models_ready_comes_once_and_before_any_end(mso: MsoProcess, peer: Peer, tmp_path: Path) -> None:
    """ModelsReady goes out when the last model has announced itself, although announcements come twice."""
    gates = {model: gate(tmp_path, model) for model in ("a", "b", "c")}
    peer.deploy("sim", order(*(configuration(model, "gated", GATE=str(path)) for model, path in gates.items())))
    peer.ready("sim", "a", "b", "a", "b")
    peer.ready("sim", "c", "c")
    peer.wait_for("sim", "ModelsReady")
    peer.ready("sim", "a")
    for path in gates.values():
        path.write_text("0\n")
    assert peer.wait_for_end("sim")[0].name == "ModelsReady"
    assert peer.names("sim").count("ModelsReady") == 1


def test_the_same_simulation_id_runs_again_at_once(mso: MsoProcess, peer: Peer) -> None:
    """A rerun sends the same bytes, and is a run of its own."""
    request = order(configuration("m0", "ends:0"), configuration("m1", "ends:code", CODE="3"))
    for run in (1, 2, 3):
        peer.deploy("sim", request)
        heard = peer.wait_for_end("sim", runs=run)
        assert Counter(message.name for message in heard) == {
            "ModelHasTerminated": 2 * run,
            "AllModelsHaveTerminated": run,
        }
    assert [event["run"] for event in mso.events("simulation.added")] == [1, 2, 3]


def test_a_request_that_is_repeated_while_its_run_lives_changes_nothing(
    mso: MsoProcess, peer: Peer, tmp_path: Path
) -> None:
    """The same models are started once, and reported once."""
    path = gate(tmp_path, "m0")
    request = order(configuration("m0", "gated", GATE=str(path)), configuration("m1", "ends:0"))
    for _ in range(3):
        peer.deploy("sim", request)
    mso.wait_for_event("order.unchanged", 2)
    path.write_text("7\n")
    assert ends(peer.wait_for_end("sim")) == {"m0": (1, 7), "m1": (0, 0)}
    assert len(mso.events("model.deployed")) == 2


def test_another_specification_for_a_living_model_rejects_the_whole_request(mso: MsoProcess, peer: Peer) -> None:
    """Nothing of a request that contradicts a living model is done, and its sender hears why."""
    peer.deploy("sim", order(configuration("m0", "waits")))
    mso.wait_for_event("model.deployed")
    peer.deploy("sim", order(configuration("m0", "ends:0"), configuration("m1", "ends:0")))
    peer.wait_for("sim", "DeployModelsRejected")
    peer.done("sim")
    assert ends(peer.wait_for_end("sim")).keys() == {"m0"}


def test_two_simulation_orchestrators_are_served_at_once(mosquitto: Mosquitto, start_mso: StartMso) -> None:
    """Each hears of its own simulations, and one cannot take the other's."""
    mso = start_mso(mosquitto, "first-so,second-so")
    with Peer(mosquitto, "first-so") as first, Peer(mosquitto, "second-so") as second:
        first.deploy("sim-1", order(configuration("m", "waits")))
        mso.wait_for_event("model.deployed", simulation="sim-1")
        second.deploy("sim-1", order(configuration("m", "waits")))
        second.wait_for("sim-1", "DeployModelsRejected")
        second.deploy("sim-2", order(configuration("m", "ends:code", CODE="4")))
        assert ends(second.wait_for_end("sim-2")) == {"m": (1, 4)}
        second.done("sim-1")  # it is not its own
        mso.wait_for_event("message.refused", 2)
        assert first.names("sim-1") == []
        first.done("sim-1")
        assert ends(first.wait_for_end("sim-1")).keys() == {"m"}
        assert first.names("sim-2") == []


def test_what_does_not_end_within_the_grace_is_stopped(mso: MsoProcess, peer: Peer, tmp_path: Path) -> None:
    """SimulationDone: exit 0 in the grace is success, the rest is FAILED, each reported once, then all."""
    path = gate(tmp_path, "m0")
    request = order(
        configuration("m0", "gated", GATE=str(path)),
        configuration("m1", "waits"),
        configuration("m2", "ends:0"),
        version=2,
    )
    peer.deploy("sim", request)
    mso.wait_for_event("model.deployed", 3)
    peer.wait_for("sim", "ModelHasTerminated")
    peer.done("sim")
    path.write_text("0\n")
    heard = peer.wait_for_end("sim")
    reasons = {message.model: message.end.reason for message in heard if message.model}
    assert reasons == {"m0": "Completed", "m1": "Stopped", "m2": "Completed"}
    assert ends(heard)["m1"][0] == 1


def test_400_models_are_each_reported_once_and_in_order(mso: MsoProcess, peer: Peer) -> None:
    """Every end comes before the end of the whole, and comes once."""
    peer.deploy(
        "sim", order(*(configuration(f"m{number}", "ends:code", CODE=str(number % 3)) for number in range(400)))
    )
    heard = peer.wait_for_end("sim")
    assert heard[-1].name == "AllModelsHaveTerminated"
    assert ends(heard) == {f"m{number}": (number % 3 > 0, number % 3) for number in range(400)}


def test_1000_models_leave_nothing_behind(mso: MsoProcess, peer: Peer) -> None:
    """A thousand models come and go; no process, no descriptor and no file of theirs is left."""
    peer.deploy("before", order(configuration("m", "ends:0")))
    peer.wait_for_end("before")
    mso.wait_for_event("model.removed")
    descriptors = psutil.Process(mso.pid).num_fds()
    peer.deploy("sim", order(*(configuration(f"m{number}", "ends:0") for number in range(1000))))
    assert len(ends(peer.wait_for_end("sim"))) == 1000
    mso.wait_for_event("model.removed", 1001)
    assert psutil.Process(mso.pid).num_fds() <= descriptors + 2
    assert psutil.Process(mso.pid).children() == []
    assert not list((mso.directory / "state" / "local").rglob("output.log"))


def test_a_model_that_failed_tells_its_last_lines_in_version_2(mso: MsoProcess, peer: Peer) -> None:
    """Reason, message, times, attempt and log lines come with a failure; the log of MSO has them too."""
    peer.deploy("sim", order(configuration("m", "ends:code", CODE="5"), version=2))
    end = next(message.end for message in peer.wait_for_end("sim") if message.model)
    assert (end.reason, end.exitCode, list(end.lastLogLines), end.attempt) == ("Error", 5, ["going to end with 5"], 1)
    assert end.startedAt.seconds <= end.finishedAt.seconds
    failed = mso.wait_for_event("model.failed")[0]
    assert (failed["exit_code"], failed["reason"], failed["last_lines"]) == (5, "Error", ["going to end with 5"])
    assert "sim" in failed["simulation"]


def test_a_model_with_retries_is_reported_once_at_the_end_of_its_last_attempt(mso: MsoProcess, peer: Peer) -> None:
    """Two retries make three attempts and one termination."""
    model = configuration("m", "ends:code", CODE="6")
    model.retries = 2
    peer.deploy("sim", order(model, version=2))
    heard = peer.wait_for_end("sim")
    assert ends(heard) == {"m": (1, 6)}
    assert next(message.end.attempt for message in heard if message.model) == 3


def test_an_image_that_nobody_knows_fails_and_the_others_go_on(mso: MsoProcess, peer: Peer) -> None:
    """A model that cannot be deployed is reported as terminated, and ModelsReady never goes out."""
    peer.deploy("sim", order(configuration("bad", "no-such-image"), configuration("good", "ends:0"), version=2))
    heard = peer.wait_for_end("sim")
    assert ends(heard) == {"bad": (1, -1), "good": (0, 0)}
    assert {message.model: message.end.reason for message in heard if message.model} == {
        "bad": "ImagePullFailed",
        "good": "Completed",
    }


def test_a_model_that_is_never_ready_is_given_up_and_its_process_ended(mso: MsoProcess, peer: Peer) -> None:
    """readyTimeoutSeconds and maxRuntimeSeconds are kept, and what hangs does not stay."""
    mute, slow = configuration("mute", "waits"), configuration("slow", "waits")
    mute.readyTimeoutSeconds = 0.5
    slow.maxRuntimeSeconds = 1.0
    peer.deploy("sim", order(mute, slow, version=2))
    mso.wait_for_event("model.deployed", 2)
    peer.ready("sim", "slow")
    heard = peer.wait_for_end("sim")
    assert {message.model: message.end.reason for message in heard if message.model} == {
        "mute": "ReadyTimeout",
        "slow": "RuntimeExceeded",
    }
    mso.wait_for_event("model.removed", 2)
