"""Whatever comes in: one warning and one count for each, an answer where there is a word for it, and on it goes."""

import random

import pytest

from mso.protocol.messages import lifecycle_pb2
from tests.integration.conftest import StartMosquitto, StartMso
from tests.integration.test_simulations import ends
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess

CANARY = "canary-in-a-coal-mine"


@pytest.fixture
def mosquitto(start_mosquitto: StartMosquitto) -> Mosquitto:
    """One that keeps all in memory (to save every change would take most of the time), and drops nothing of a flood."""
    return start_mosquitto(persistence=False, max_queued_messages=0)


def test_ten_thousand_hostile_messages_and_then_a_normal_simulation(mso: MsoProcess, peer: Peer) -> None:
    """Random bytes, torn messages, wild topics and hostile numbers stop nothing."""
    chance = random.Random(20261122)
    valid = order(*(configuration(f"m{number}", "ends:0", A="b") for number in range(3))).SerializeToString()
    for number in range(10_000):
        peer.send(*hostile(chance, valid, number), qos=number % 2)
    peer.publish("/lifecycle/model/mso/the/last/ReadyForProcessing")
    mso.wait_for_event("message.refused", topic="/lifecycle/model/mso/the/last/ReadyForProcessing")
    peer.deploy("normal", order(configuration("m0", "ends:0"), configuration("m1", "ends:code", CODE="1")))
    assert ends(peer.wait_for_end("normal")) == {"m0": (0, 0), "m1": (1, 1)}
    assert mso.events("message.put_aside") == []
    assert "Traceback" not in mso.log()
    assert mso.probe("/livez")[0] == 200


def hostile(chance: random.Random, valid: bytes, number: int) -> tuple[str, bytes]:
    """A message that asks for nothing that could be done."""
    simulation = f"hostile-{number}"
    deploy = f"/lifecycle/test-so/mso/{simulation}/DeployModels"
    match number % 8:
        case 0:
            return deploy, b"\xff" + chance.randbytes(chance.randrange(200))
        case 1:
            return deploy, valid[: chance.randrange(1, len(valid) - 1)] + b"\xff"
        case 2:
            return deploy, b""
        case 3:
            return deploy, order(configuration("", "x"), configuration("a/b", "x")).SerializeToString()
        case 4:
            return deploy, order(configuration("m", "x"), configuration("m", "x")).SerializeToString()
        case 5:
            return f"/lifecycle/model/mso/{simulation}/m/ReadyForProcessing", chance.randbytes(20)
        case 6:
            return f"/lifecycle/test-so/mso/{simulation}/SimulationDone", chance.randbytes(chance.randrange(10))
        case _:
            return "/lifecycle/test-so/mso//DeployModels", valid


def test_orders_that_cannot_be_taken_are_answered(mso: MsoProcess, peer: Peer) -> None:
    """The sender hears of each as a whole, with what is wrong, and which versions are spoken."""
    newer = order(configuration("m", "ends:0"), version=3)
    unsupported = order(configuration("m", "ends:0"), version=2)
    unsupported.modelConfigurations[0].healthCheck = True
    unsupported.modelConfigurations[0].command.append("sh")
    requests: dict[str, lifecycle_pb2.DeployModels | bytes] = {
        "unreadable": b"\xff\xff",
        "empty": order(),
        "twice": order(configuration("m", "ends:0"), configuration("m", "ends:0")),
        "newer": newer,
        "unsupported": unsupported,
    }
    for simulation, request in requests.items():
        peer.deploy(simulation, request)
        rejected = lifecycle_pb2.DeployModelsRejected.FromString(
            peer.wait_for(simulation, "DeployModelsRejected")[0].payload
        )
        assert rejected.reason
        assert (rejected.minProtocolVersion, rejected.maxProtocolVersion) == (1, 2)
        if simulation == "unsupported":
            assert "healthCheck" in " ".join(rejected.errors)
            assert "command" in " ".join(rejected.errors)
        assert (
            len(mso.wait_for_event("message.refused", topic=f"/lifecycle/test-so/mso/{simulation}/DeployModels")) == 1
        )
    assert mso.events("model.deployed") == []


def test_hostile_hours_are_brought_into_bounds(mso: MsoProcess, peer: Peer) -> None:
    """keepLogsHours of NaN, infinity, below zero or beyond a year costs a warning, and the models run."""
    for number, hours in enumerate((float("nan"), float("inf"), float("-inf"), -1.0, 1e16, 1e9)):
        peer.deploy(f"sim-{number}", order(configuration("m", "ends:0"), keep_logs_hours=hours))
        assert ends(peer.wait_for_end(f"sim-{number}")) == {"m": (0, 0)}
        assert len(mso.wait_for_event("order.adjusted", simulation=f"sim-{number}")) == 1


def test_retained_commands_are_ignored(mosquitto: Mosquitto, mso: MsoProcess, peer: Peer) -> None:
    """A retained DeployModels does nothing, neither when it is sent nor at any later connection."""
    topic = "/lifecycle/test-so/mso/sim/DeployModels"
    assert mso.stop() == 0
    peer.publish(topic, order(configuration("m", "ends:0")).SerializeToString(), retain=True)
    mso.start()
    assert "retained" in mso.wait_for_event("message.refused", topic=topic)[0]["why"] or mso.events("simulation.added")
    refused = len(mso.events("message.refused", topic=topic))
    assert mso.stop() == 0
    mso.start()
    mso.wait_for_event("message.refused", refused + 1, topic=topic)
    peer.deploy("normal", order(configuration("m", "ends:0")))
    peer.wait_for_end("normal")


def test_a_message_over_the_limit_is_refused_and_the_next_one_served(mosquitto: Mosquitto, start_mso: StartMso) -> None:
    """MSO_MAX_MESSAGE_BYTES: the sender hears that it was too large."""
    mso = start_mso(mosquitto, MSO_MAX_MESSAGE_BYTES="10000")
    with Peer(mosquitto) as peer:
        peer.deploy("large", order(configuration("m", "ends:0", LONG="x" * 10_000)))
        peer.wait_for("large", "DeployModelsRejected")
        peer.deploy("small", order(configuration("m", "ends:0")))
        assert ends(peer.wait_for_end("small")) == {"m": (0, 0)}
        assert len(mso.events("message.refused")) == 1


def test_10000_models_in_two_requests_are_each_reported(mso: MsoProcess, peer: Peer) -> None:
    """A simulation may come in several requests; here none of its images exists, which is told of each model."""
    halves = [
        order(*(configuration(f"m{number}", "none") for number in range(first, first + 5000)), version=2)
        for first in (0, 5000)
    ]
    halves[0].moreToCome = True
    for half in halves:
        peer.deploy("sim", half)
    assert len(ends(peer.wait_for_end("sim"))) == 10_000


def test_no_value_of_an_environment_variable_is_in_the_log(mosquitto: Mosquitto, start_mso: StartMso) -> None:
    """At DEBUG neither the log nor an answer shows a password that came in a request, or MSO's own."""
    mso = start_mso(mosquitto, LOG_LEVEL="DEBUG")
    with Peer(mosquitto) as peer:
        good = order(configuration("m", "ends:code", CODE="1", MQTT_PASSWORD=CANARY), version=2)
        peer.deploy("good", good)
        peer.wait_for_end("good")
        peer.deploy("twice", order(*[configuration("m", "ends:0", MQTT_PASSWORD=CANARY)] * 2))
        peer.wait_for("twice", "DeployModelsRejected")
        peer.deploy("torn", good.SerializeToString()[:-3])
        peer.wait_for("torn", "DeployModelsRejected")
        peer.deploy("odd", order(configuration("m", "ends:0", **{"a.b": CANARY}), version=2))
        peer.wait_for_end("odd")
        heard = [message for name in ("good", "twice", "torn", "odd") for message in peer.heard(name)]
    assert mso.stop() == 0
    assert CANARY not in mso.log()
    assert not any(CANARY.encode() in message.payload for message in heard)
    assert mosquitto.password not in mso.log()
