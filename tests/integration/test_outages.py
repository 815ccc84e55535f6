"""The broker is killed, stopped or frozen while models end: everything is told, in order, once it is back."""

from collections import Counter
from pathlib import Path

from tests.integration.conftest import StartMosquitto, StartMso
from tests.integration.test_simulations import ends, gate
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess


def open_all(gates: dict[str, Path], code: int) -> None:
    for path in gates.values():
        path.write_text(f"{code}\n")


def gated_simulation(peer: Peer, mso: MsoProcess, directory: Path, count: int) -> dict[str, Path]:
    """So many models that wait at their gates, all of them ready."""
    gates = {f"m{number}": gate(directory, f"m{number}") for number in range(count)}
    peer.deploy("sim", order(*(configuration(model, "gated", GATE=str(path)) for model, path in gates.items())))
    mso.wait_for_event("model.deployed", count)
    peer.ready("sim", *gates)
    peer.wait_for("sim", "ModelsReady")
    return gates


def test_ends_while_the_broker_is_dead_are_told_when_it_is_back(
    mosquitto: Mosquitto, mso: MsoProcess, peer: Peer, tmp_path: Path
) -> None:
    """kill -9 of the broker, 50 models fail, the broker starts: 50 terminations, then one end of the whole."""
    gates = gated_simulation(peer, mso, tmp_path, 50)
    mosquitto.save()  # else it may forget that ModelsReady went out: it passes on first and saves a moment later
    mosquitto.kill()
    mso.wait_for_event("broker.disconnected")
    open_all(gates, 4)
    mso.wait_for_event("model.failed", 50)
    mosquitto.start()
    heard = peer.wait_for_end("sim")
    assert ends(heard) == dict.fromkeys(gates, (1, 4))
    assert [message.name for message in heard] == [
        "ModelsReady",
        *["ModelHasTerminated"] * 50,
        "AllModelsHaveTerminated",
    ]


def test_kills_of_the_broker_in_the_middle_of_the_ends_lose_none(
    mosquitto: Mosquitto, mso: MsoProcess, peer: Peer, tmp_path: Path
) -> None:
    """Each termination comes, twice perhaps around a kill, and the end of the whole comes after all of them.

    But for what the broker itself forgot: Mosquitto acknowledges first and saves a moment later, and what is killed in
    between is outside the promise (docs/protocol.md, *Promises*).
    """
    gates = gated_simulation(peer, mso, tmp_path, 80)
    models = list(gates)
    saved: list[bytes] = []
    for ended in (20, 40, 60):
        open_all({model: gates[model] for model in models[ended - 20 : ended]}, 0)
        mso.wait_for_event("model.state_changed", ended - 10, now="succeeded")
        mosquitto.kill()
        saved.append(mosquitto.saved())
        mosquitto.start()
    open_all({model: gates[model] for model in models[60:]}, 0)
    heard = peer.wait_for_end("sim")
    before_the_end = heard[: [message.name for message in heard].index("AllModelsHaveTerminated")]
    acknowledged = {event["model"] for event in mso.events("termination.sent")}
    assert acknowledged == gates.keys()
    for model in gates.keys() - {message.model for message in before_the_end}:
        assert not any(f"/sim/{model}/ModelHasTerminated".encode() in memory for memory in saved)
    assert Counter(message.name for message in heard)["ModelsReady"] == 1


def test_a_frozen_broker_delays_and_loses_nothing(
    mosquitto: Mosquitto, mso: MsoProcess, peer: Peer, tmp_path: Path
) -> None:
    """SIGSTOP: MSO says that it is not ready, lives on, and tells everything after SIGCONT, ModelsReady not again."""
    gates = gated_simulation(peer, mso, tmp_path, 10)
    mosquitto.pause()
    open_all(gates, 5)
    mso.wait_for_event("model.failed", 10)
    assert "broker" in mso.wait_for_probe("/readyz", 503)
    assert mso.probe("/livez")[0] == 200
    mosquitto.resume()
    heard = peer.wait_for_end("sim")
    assert {message.model: message.end.exitCode for message in heard if message.model} == dict.fromkeys(gates, 5)
    assert Counter(message.name for message in heard)["ModelsReady"] == 1
    mso.wait_for_probe("/readyz", 200)


def test_an_order_that_was_sent_while_the_service_was_away_is_taken_when_it_is_back(
    mso: MsoProcess, peer: Peer
) -> None:
    """The broker keeps a QoS 1 message for the session of a service that is away."""
    assert mso.stop() == 0
    peer.deploy("sim", order(configuration("m", "ends:code", CODE="8")))
    mso.start()
    assert ends(peer.wait_for_end("sim")) == {"m": (1, 8)}


def test_5000_announcements_that_came_while_it_was_away_are_all_heard(
    start_mosquitto: StartMosquitto, start_mso: StartMso
) -> None:
    """A flood that waited at the broker is taken, and the simulation after it as well."""
    mosquitto = start_mosquitto(max_queued_messages=0, persistence=False)
    mso = start_mso(mosquitto)
    with Peer(mosquitto) as peer:
        peer.deploy("sim", order(configuration("m", "waits")))
        mso.wait_for_event("model.deployed")
        assert mso.stop() == 0
        peer.ready("other", *(f"m{number}" for number in range(4999)))
        peer.ready("sim", "m")
        mso.start()
        peer.wait_for("sim", "ModelsReady")
        peer.done("sim")
        assert ends(peer.wait_for_end("sim")).keys() == {"m"}
        assert len(mso.events("message.refused")) == 4999
