"""`mso stop`: a simulation is stopped by the service that runs, and what comes of it is waited for."""

from tests.integration.conftest import StartMosquitto, StartMso
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess


def test_it_is_stopped_as_its_simulation_orchestrator_would_stop_it(mso: MsoProcess, peer: Peer) -> None:
    """Each model is told, and the end; the command says how many still live, and returns when none does."""
    peer.deploy("sim", order(configuration("a", "waits"), configuration("b", "waits"), version=2))
    mso.wait_for_event("model.deployed", 2)
    told = mso.command("stop", "sim")
    assert told.returncode == 0, told.stdout
    assert "stopping: 2 of 2 models live" in told.stdout
    assert "run 1 of sim has ended, after" in told.stdout
    heard = peer.wait_for_end("sim")
    assert {message.model: message.end.reason for message in heard if message.model} == {"a": "Stopped", "b": "Stopped"}


def test_without_waiting_it_returns_when_the_broker_has_it(mso: MsoProcess, peer: Peer) -> None:
    """And the service goes on with it; so it does where the ledger cannot be read and the simulator is named."""
    for simulation, named in (("one", ()), ("two", ("--simulator", "Test-SO"))):
        peer.deploy(simulation, order(configuration("a", "waits")))
        mso.wait_for_event("model.deployed", simulation=simulation)
        told = mso.command("stop", simulation, "--no-wait", *named)
        assert told.returncode == 0, told.stdout
        assert "the broker has the SimulationDone" in told.stdout
        peer.wait_for_end(simulation)


def test_what_has_ended_needs_no_stop(mso: MsoProcess, peer: Peer) -> None:
    """Status 0, and no message."""
    peer.deploy("sim", order(configuration("a", "ends:0")))
    peer.wait_for_end("sim")
    mso.wait_for_event("simulation.reported")
    told = mso.command("stop", "sim")
    assert (told.returncode, "run 1 of sim has ended already" in told.stdout) == (0, True)
    assert mso.events("message.refused") == []


def test_what_nobody_knows_is_said_to_be_unknown(mso: MsoProcess) -> None:
    """Status 1, and nothing is sent; so it is for a simulator that is not served."""
    told = mso.command("stop", "nobody")
    assert (told.returncode, "mso history lists" in told.stdout) == (1, True)
    told = mso.command("stop", "sim", "--simulator", "essim")
    assert (told.returncode, "serves test-so" in told.stdout) == (1, True)
    assert mso.events("message.refused") == []


def test_without_a_service_it_says_that_nobody_acts(mso: MsoProcess, peer: Peer) -> None:
    """In time; and the service that comes back does what was asked for."""
    peer.deploy("sim", order(configuration("a", "waits")))
    mso.wait_for_event("model.deployed")
    assert mso.stop() == 0
    told = mso.command("stop", "sim", "--timeout", "1")
    assert told.returncode == 1
    assert "nobody has acted upon it" in told.stdout
    assert "/lifecycle/test-so/mso/sim/SimulationDone" in told.stdout
    mso.start()
    peer.wait_for_end("sim")


def test_a_broker_that_does_not_let_us_is_found_out(start_mosquitto: StartMosquitto, start_mso: StartMso) -> None:
    """It acknowledges what it throws away: that nothing comes of it is all there is to see."""
    allowed = ("/lifecycle/mso/#", "/mso/#", "/healthcheck/#", "/lifecycle/test-so/mso/+/DeployModels")
    access = [f"topic readwrite {topic}" for topic in allowed]
    broker = start_mosquitto(access=[*access, "topic read /lifecycle/test-so/mso/+/SimulationDone"])
    mso = start_mso(broker)
    with Peer(broker) as peer:
        peer.deploy("sim", order(configuration("a", "waits")))
        mso.wait_for_event("model.deployed")
        told = mso.command("stop", "sim", "--timeout", "2")
        assert told.returncode == 1
        assert "do not let the user 'mso' publish to /lifecycle/test-so/mso/sim/SimulationDone" in told.stdout


def test_what_does_not_end_in_time_is_said_to_go_on(mosquitto: Mosquitto, start_mso: StartMso, peer: Peer) -> None:
    """How many live, and what can be done."""
    mso = start_mso(mosquitto, MSO_STOP_GRACE_SECONDS="600")
    peer.deploy("sim", order(configuration("a", "waits")))
    mso.wait_for_event("model.deployed")
    told = mso.command("stop", "sim", "--timeout", "2")
    assert told.returncode == 1
    assert "stopping: 1 of 1 models live" in told.stdout
    assert "mso cleanup" in told.stdout


def test_a_broker_that_is_away_is_said_to_be_away(mso: MsoProcess, mosquitto: Mosquitto) -> None:
    """Status 1, and where to look."""
    mosquitto.stop()
    told = mso.command("stop", "sim", "--simulator", "test-so")
    assert (told.returncode, "mso doctor says more" in told.stdout) == (1, True)
