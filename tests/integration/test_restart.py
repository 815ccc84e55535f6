"""MSO ends and comes back, in good order or not: its models live on and none of their ends is lost."""

import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.integration.test_simulations import ends, gate
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess, wait_until


def model_processes(mso: MsoProcess) -> set[int]:
    """The process groups of the models that were started, by the notes of those who started them."""
    notes = [path.read_text().split() for path in (mso.directory / "state").glob("local/*/*/*/*/started")]
    return {int(note[0]) for note in notes if note}


def open_gates(gates: dict[str, Path], codes: dict[str, int]) -> None:
    for model, code in codes.items():
        gates[model].write_text(f"{code}\n")


def has_entries(directory: Path, count: int) -> bool:
    return len(list(directory.iterdir())) >= count


def test_models_live_on_through_a_kill_and_every_end_is_reported(mso: MsoProcess, peer: Peer, tmp_path: Path) -> None:
    """kill -9: the same processes are adopted; what ended meanwhile, and what ends later, has its true exit code."""
    gates = {f"m{number}": gate(tmp_path, f"m{number}") for number in range(20)}
    peer.deploy("sim", order(*(configuration(model, "gated", GATE=str(path)) for model, path in gates.items())))
    mso.wait_for_event("model.deployed", 20)
    peer.ready("sim", *gates)
    peer.wait_for("sim", "ModelsReady")
    before = model_processes(mso)
    mso.kill()
    open_gates(gates, {f"m{number}": number for number in range(5)})
    mso.start()
    restored = mso.wait_for_event("simulation.restored")[0]
    assert restored["models"] == 20
    assert model_processes(mso) == before
    open_gates(gates, {f"m{number}": number for number in range(5, 20)})
    heard = peer.wait_for_end("sim")
    assert ends(heard) == {f"m{number}": (number > 0, number) for number in range(20)}
    assert [message.name for message in heard].count("ModelsReady") == 1


def test_what_announced_itself_before_a_kill_need_not_do_so_again(mso: MsoProcess, peer: Peer, tmp_path: Path) -> None:
    """ReadyForProcessing is written down before it is acknowledged: ModelsReady goes out when the last one follows."""
    gates = {model: gate(tmp_path, model) for model in ("a", "b")}
    peer.deploy("sim", order(*(configuration(model, "gated", GATE=str(path)) for model, path in gates.items())))
    mso.wait_for_event("model.deployed", 2)
    peer.ready("sim", "a")
    mso.wait_for_event("model.state_changed", model="a")
    mso.kill()
    mso.start()
    mso.wait_for_event("simulation.restored")
    peer.ready("sim", "b")
    peer.wait_for("sim", "ModelsReady")
    open_gates(gates, {"a": 0, "b": 0})
    assert [message.name for message in peer.wait_for_end("sim")].count("ModelsReady") == 1


def deleted(ledger: Path) -> None:
    for file in ledger.parent.glob(f"{ledger.name}*"):
        file.unlink()


def damaged(ledger: Path) -> None:
    deleted(ledger)
    ledger.write_bytes(b"no database at all" * 1000)


@pytest.mark.parametrize("spoilt", (deleted, damaged))
def test_without_its_ledger_a_run_is_adopted_from_what_its_models_carry(
    mso: MsoProcess, peer: Peer, tmp_path: Path, spoilt: Callable[[Path], None]
) -> None:
    """A new volume, or a bad one: a run that was not ready is adopted so, which is said aloud, and can become so."""
    gates = {model: gate(tmp_path, model) for model in ("a", "b")}
    peer.deploy("sim", order(*(configuration(model, "gated", GATE=str(path)) for model, path in gates.items())))
    mso.wait_for_event("model.deployed", 2)
    peer.ready("sim", "a")
    mso.wait_for_event("model.state_changed", model="a")
    mso.kill()
    spoilt(mso.directory / "state" / "ledger.sqlite")
    mso.start()
    assert mso.wait_for_event("simulation.adopted", level="warning")
    assert len(mso.events("ledger.set_aside")) == (spoilt is damaged)
    peer.ready("sim", "b", "a")
    peer.wait_for("sim", "ModelsReady")
    open_gates(gates, {"a": 0, "b": 0})
    assert [message.name for message in peer.wait_for_end("sim")].count("ModelsReady") == 1


def test_sigterm_ends_it_in_time_and_leaves_the_models_running(mso: MsoProcess, peer: Peer, tmp_path: Path) -> None:
    """Exit status 0, the retained status says offline, and the models are followed again afterwards."""
    path = gate(tmp_path, "m")
    peer.deploy("sim", order(configuration("m", "gated", GATE=str(path))))
    mso.wait_for_event("model.deployed")
    (process,) = model_processes(mso)
    assert mso.stop() == 0
    assert psutil.pid_exists(process)
    mso.start()
    path.write_text("9\n")
    assert ends(peer.wait_for_end("sim")) == {"m": (1, 9)}


def test_sigterm_in_the_middle_of_a_deployment_is_gone_on_with_by_the_next_start(mso: MsoProcess, peer: Peer) -> None:
    """It ends in time; what it could not deploy by then is deployed after the next start, without being asked again."""
    peer.deploy("sim", order(*(configuration(f"m{number}", "waits") for number in range(500))))
    mso.wait_for_event("model.deployed")
    began = time.monotonic()
    assert mso.stop() == 0
    assert time.monotonic() - began < 10
    mso.start()
    wait_until(lambda: len(model_processes(mso)) == 500)
    peer.done("sim")
    assert len(ends(peer.wait_for_end("sim"))) == 500


def test_what_was_being_stopped_is_stopped_after_a_kill(mso: MsoProcess, peer: Peer) -> None:
    """SimulationDone was acknowledged, so it is not said again: the run remembers it."""
    peer.deploy("sim", order(configuration("m", "waits"), version=2))
    mso.wait_for_event("model.deployed")
    peer.done("sim")
    mso.wait_for_event("simulation.stopping")
    mso.kill()
    mso.start()
    heard = peer.wait_for_end("sim")
    assert [message.end.reason for message in heard if message.model] == ["Stopped"]


def test_ends_that_were_reported_are_not_reported_again_after_a_restart(mso: MsoProcess, peer: Peer) -> None:
    """A finished run that is kept for its logs is known to be told, and its next run is the next run."""
    request = order(configuration("m", "ends:code", CODE="2"), keep_logs_hours=1)
    peer.deploy("sim", request)
    peer.wait_for_end("sim")
    assert mso.stop() == 0
    mso.start()
    peer.deploy("sim", request)
    peer.wait_for_end("sim", runs=2)
    assert peer.names("sim") == ["ModelHasTerminated", "AllModelsHaveTerminated"] * 2
    assert [event["run"] for event in mso.events("simulation.added")] == [1, 2]


def test_logs_are_kept_as_long_as_was_asked_for_also_over_a_restart(mso: MsoProcess, peer: Peer) -> None:
    """keepLogsHours counts from the end of the run: what is kept stays, and goes when its time has come."""
    peer.deploy("kept", order(configuration("m", "ends:0"), keep_logs_hours=1))
    peer.deploy("brief", order(configuration("m", "ends:0"), keep_logs_hours=2 / 3600))
    peer.wait_for_end("kept")
    peer.wait_for_end("brief")
    mso.kill()
    mso.start()
    mso.wait_for_event("model.removed", simulation="brief")
    assert mso.events("model.removed", simulation="kept") == []
    assert len(list((mso.directory / "state" / "local").rglob("output.log"))) == 1


def test_kills_at_any_instant_start_no_model_twice_and_lose_no_end(mso: MsoProcess, peer: Peer, tmp_path: Path) -> None:
    """Six kills in the middle of it; once it was acknowledged, the order need not be said again."""
    starts = tmp_path / "starts"
    starts.mkdir()
    gates = {f"m{number}": gate(tmp_path, f"m{number}") for number in range(60)}
    request = order(
        *(
            configuration(model, "notes-start", NOTE=str(starts / model), GATE=str(path))
            for model, path in gates.items()
        )
    )
    sender = threading.Thread(target=peer.deploy, args=("sim", request))
    sender.start()
    for wanted in (3, 10, 20, 30, 45, 59):
        wait_until(partial(has_entries, starts, wanted))
        mso.kill()
        mso.start()
    sender.join()
    wait_until(partial(has_entries, starts, 60))
    open_gates(gates, {f"m{number}": number for number in range(60)})
    assert ends(peer.wait_for_end("sim")) == {f"m{number}": (number > 0, number) for number in range(60)}
    assert {path.name: path.read_text() for path in starts.iterdir()} == dict.fromkeys(gates, "started\n")


def test_a_second_service_with_the_same_state_waits_and_takes_over_from_one_that_was_killed(
    mso: MsoProcess, peer: Peer, tmp_path: Path
) -> None:
    """One at a time: the second says who is active, and goes on with its models when that one is gone."""
    path = gate(tmp_path, "m")
    peer.deploy("sim", order(configuration("m", "gated", GATE=str(path))))
    mso.wait_for_event("model.deployed")
    first = mso.process
    assert first
    mso.set("MSO_HTTP_PORT", "0")
    mso.start(wait=False)
    assert f"-{first.pid}-" in mso.wait_for_event("service.standby")[0]["active"]
    first.kill()
    first.wait()
    mso.wait_for_connection(2)
    path.write_text("9\n")
    assert ends(peer.wait_for_end("sim")) == {"m": (1, 9)}


def test_one_that_waits_ends_when_it_is_told_to(mso: MsoProcess) -> None:
    """SIGTERM: exit status 0, and the active one goes on."""
    first = mso.process
    assert first
    mso.set("MSO_HTTP_PORT", "0")
    mso.start(wait=False)
    mso.wait_for_event("service.standby")
    assert mso.stop() == 0
    assert first.poll() is None
    mso.process = first


def test_a_ledger_of_a_newer_release_is_refused_in_one_line(mso: MsoProcess) -> None:
    """It is left as it is, and the exit status is 1."""
    assert mso.stop() == 0
    ledger = mso.directory / "state" / "ledger.sqlite"
    with sqlite3.connect(ledger) as connection:
        connection.execute("UPDATE mso_revision SET version_num = '9999'")
    connection.close()
    before = ledger.read_bytes()
    mso.start(wait=False)
    assert mso.process
    assert mso.process.wait(30) == 1
    (refused,) = mso.events("service.cannot_start")
    assert "newer" in refused["why"]
    assert "\n" not in refused["why"]
    assert ledger.read_bytes() == before
