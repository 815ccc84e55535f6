"""Mosquitto as it is shipped, with a real `mso run` and the fake parts: all that is needed works, nothing is lost."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mso.protocol.messages import lifecycle_pb2
from tests.mosquitto import find_mosquitto
from tests.mqtt import connected, refusal
from tests.party import Party
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess
from tests.shipped_mosquitto import COMPONENTS, ShippedMosquitto

pytestmark = [pytest.mark.broker, pytest.mark.process]

StartMso = Callable[..., MsoProcess]
SAVED_WITHIN_SECONDS = 30.0
"""A second is what the configuration says. Without it Mosquitto takes half an hour."""


@pytest.fixture
def start_shipped(tmp_path: Path) -> Iterator[Callable[..., ShippedMosquitto]]:
    """Starts one, with these options of run_mosquitto.sh; with TLS where a certificate is to be made first."""
    with ExitStack() as running:

        def start(*options: str, tls: bool = False) -> ShippedMosquitto:
            if find_mosquitto() is None and "--docker" not in options:
                pytest.skip("no Mosquitto here")
            broker = ShippedMosquitto(tmp_path / "shipped", *options)
            if tls:
                made = broker.script("mosquitto/make_certificates.sh")
                assert made.returncode == 0, made.stderr
            return running.enter_context(broker)

        yield start


@pytest.fixture
def shipped(start_shipped: Callable[..., ShippedMosquitto]) -> ShippedMosquitto:
    return start_shipped()


def serve(start_mso: StartMso, broker: ShippedMosquitto, directory: Path, **variables: str) -> MsoProcess:
    """An `mso run` as the user mso, that knows the fake model."""
    images = directory / "fake_images.json"
    images.write_text(json.dumps({"fake_model:0.0.1": [sys.executable, "-m", "fake_model"]}))
    login = broker.login("mso")
    if login.tls_ca_file:
        variables["MQTT_TLS_CA_FILE"] = str(login.tls_ca_file)
    return start_mso(login, "fake-so", MSO_LOCAL_IMAGES=str(images), **variables)


def play(broker: ShippedMosquitto, *options: str) -> dict[str, Any]:
    """What the fake simulator says at last, with real fake models. It has to be content."""
    played = broker.script("run_fake_simulator_fake_model.sh", *options, "--json", seconds=100)
    assert played.returncode == 0, played.stdout + played.stderr
    summary: dict[str, Any] = json.loads(played.stdout.splitlines()[-1])
    return summary


@pytest.mark.parametrize("tls", (False, True), ids=("plain", "tls"))
def test_a_whole_simulation(
    start_shipped: Callable[..., ShippedMosquitto], start_mso: StartMso, tmp_path: Path, tls: bool
) -> None:
    """With the rights that each role has, a simulation is played from its request to its end, ModelsReady included."""
    broker = start_shipped(tls=tls)
    mso = serve(start_mso, broker, tmp_path)
    summary = play(broker, "year", "--models", "3", "--steps", "10")
    assert summary["differences"] == []
    assert [message["message"] for message in summary["received"]].count("ModelsReady") == 1
    assert mso.events("witness.deaf") == []
    mso.wait_for_probe("/readyz", 200)
    assert mso.stop() == 0
    assert users(broker) == {"mso", "so", "model"}


def test_models_with_users_of_their_own(shipped: ShippedMosquitto, start_mso: StartMso, tmp_path: Path) -> None:
    """Models that may publish their own topics only, and an orchestrator likewise, play a whole simulation."""
    made = shipped.script("mosquitto/set_up.sh", "--so", "fake-so", "--model", "one", "--model", "sim-7/two")
    assert made.returncode == 0, made.stderr
    shipped.reload()
    models = []
    for model, user in (("one", "one"), ("two", "sim-7/two")):
        login = shipped.login(user)
        environment = {"MQTT_USERNAME": login.username, "MQTT_PASSWORD": login.password, "RUN_SECONDS": "until-done"}
        models.append({"id": model, "image": "fake_model:0.0.1", "environment": environment})
    scenario = {"simulation": "sim-7", "steps": 3, "models": models, "expect": {"modelsReady": True}}
    (tmp_path / "scenario.yaml").write_text(json.dumps(scenario))
    shutil.copy(shipped.directory / "clients" / "fake-so.env", shipped.directory / "clients" / "so.env")
    mso = serve(start_mso, shipped, tmp_path)
    assert play(shipped, "--scenario", str(tmp_path / "scenario.yaml"))["differences"] == []
    assert mso.stop() == 0
    assert users(shipped) == {"mso", "fake-so", "one", "sim-7/two"}


def test_without_the_authority_there_is_no_connection(start_shipped: Callable[..., ShippedMosquitto]) -> None:
    """With TLS nobody gets through who speaks plainly, and no client that checks is taken in by another authority."""
    broker = start_shipped(tls=True)
    login = broker.login("so")
    assert login.tls_ca_file
    with Party(login, "/healthcheck/mso/+/Status"):
        pass
    hello = ["openssl", "s_client", "-connect", f"127.0.0.1:{broker.port}", "-verify_return_error"]
    trusting = subprocess.run([*hello, "-CAfile", login.tls_ca_file], input=b"", capture_output=True, check=False)
    assert trusting.returncode == 0, trusting.stderr
    doubting = subprocess.run([*hello, "-no-CAfile"], input=b"", capture_output=True, check=False)
    assert doubting.returncode != 0
    environment = {**os.environ, "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(broker.port), "MQTT_USERNAME": "so"}
    model = subprocess.run(
        [sys.executable, "-m", "fake_model"],
        env={**environment, "SIMULATION_ID": "s", "MODEL_ID": "m", "CONNECT_TIMEOUT_SECONDS": "1"},
        capture_output=True,
        check=False,
    )
    assert model.returncode == 70


async def test_a_broker_that_asks_for_certificates(tmp_path: Path) -> None:
    """With two lines of tls.conf nobody gets in without a certificate of the authority; MSO has one."""
    shutil.copytree(COMPONENTS / "mosquitto", tmp_path / "mosquitto", ignore=shutil.ignore_patterns("generated"))
    shutil.copy(COMPONENTS / "run_mosquitto.sh", tmp_path)
    conf = tmp_path / "mosquitto" / "tls.conf"
    conf.write_text(
        conf.read_text().replace("#cafile", "cafile").replace("#require_certificate", "require_certificate")
    )
    if find_mosquitto() is None:
        pytest.skip("no Mosquitto here")
    broker = ShippedMosquitto(tmp_path / "shipped", components=tmp_path)
    assert broker.script("mosquitto/make_certificates.sh", "--client", "mso").returncode == 0
    clients = broker.directory / "clients"
    with broker:
        login = broker.login("mso")
        async with connected(
            login,
            tls_ca_file=login.tls_ca_file,
            tls_cert_file=clients / "mso.pem",
            tls_key_file=clients / "mso.key",
        ):
            pass
        with capture_logs() as logs:
            await refusal(logs, login, tls_ca_file=login.tls_ca_file)
    assert "peer did not return a certificate" in broker.log()


def test_what_the_field_says_at_qos_0_while_mso_is_away_reaches_it(
    shipped: ShippedMosquitto, start_mso: StartMso, tmp_path: Path
) -> None:
    """A request at QoS 0 is served by an MSO that was away, also when the broker was killed meanwhile."""
    mso = serve(start_mso, shipped, tmp_path)
    mso.stop()
    request = order(configuration("m", "no such image")).SerializeToString()
    with Party(shipped.login("so")) as so:
        so.publish("/lifecycle/fake-so/mso/kept/DeployModels", request, qos=0)
        wait_until_saved(shipped, b"no such image")
    shipped.kill()
    shipped.start()
    with Peer(shipped.login("so"), "fake-so") as peer:
        mso.start()
        assert [message.name for message in peer.wait_for_end("kept")] == [
            "ModelHasTerminated",
            "AllModelsHaveTerminated",
        ]


def test_what_waits_at_qos_0_and_1_comes_whole_and_in_order(shipped: ShippedMosquitto) -> None:
    """Who was away gets all of it, in order: Mosquitto strands a part, if it may not send all of it at once."""
    topics = [f"/lifecycle/model/mso/sim/{number}/ReadyForProcessing" for number in range(1200)]
    everything = "/lifecycle/model/mso/+/+/ReadyForProcessing"
    with Party(shipped.login("mso"), everything, client_id="away"):
        pass
    with Party(shipped.login("model")) as models:
        for first in range(0, 1200, 400):
            models.publish_all(topics[first : first + 200], qos=1)
            models.publish_all(topics[first + 200 : first + 400], qos=0)
        models.publish("/lifecycle/model/mso/sim/last/ReadyForProcessing")
    with Party(shipped.login("mso"), everything, client_id="away") as mso:
        heard = mso.until("/lifecycle/model/mso/sim/last/ReadyForProcessing")
    assert [topic for topic, _ in heard] == topics


def test_what_was_saved_survives_kill_9(shipped: ShippedMosquitto) -> None:
    """What is kept for somebody who is away is on the disk at once, and there after a kill; so are sessions."""
    told = "/lifecycle/mso/fake-so/+/ModelsReady"
    with Party(shipped.login("so"), told, client_id="away"):
        pass
    with Party(shipped.login("mso")) as mso:
        for number in range(20):
            mso.publish(f"/lifecycle/mso/fake-so/sim-{number}/ModelsReady")
        wait_until_saved(shipped, b"/lifecycle/mso/fake-so/sim-19/ModelsReady")
    shipped.kill()
    shipped.start()
    with Party(shipped.login("so"), client_id="away") as so:
        heard = so.wait(lambda heard: len(heard) == 20)
    assert [topic for topic, _ in heard] == [f"/lifecycle/mso/fake-so/sim-{number}/ModelsReady" for number in range(20)]


def test_a_request_of_the_largest_size_arrives(shipped: ShippedMosquitto, start_mso: StartMso, tmp_path: Path) -> None:
    """A DeployModels of 16 MiB is served, and a larger one gets through to be refused with a reason."""
    limit = 16 * 1024 * 1024
    serve(start_mso, shipped, tmp_path)
    with Peer(shipped.login("so"), "fake-so") as peer:
        peer.deploy("fits", of_size(limit))
        assert peer.wait_for_end("fits")[0].name == "ModelHasTerminated"
        peer.deploy("too-large", of_size(limit + 1))
        (refusal,) = peer.wait_for("too-large", "DeployModelsRejected")
    assert "16777216" in str(lifecycle_pb2.DeployModelsRejected.FromString(refusal.payload))


@pytest.mark.skipif(os.environ.get("MSO_TEST_DOCKER") != "yes", reason="no Docker engine: MSO_TEST_DOCKER=yes says so")
@pytest.mark.parametrize("tls", (False, True), ids=("plain", "tls"))
def test_in_a_container(
    start_shipped: Callable[..., ShippedMosquitto], start_mso: StartMso, tmp_path: Path, tls: bool
) -> None:
    """In eclipse-mosquitto:2 the same files serve a simulation, and keep and refuse the same over a restart."""
    broker = start_shipped("--docker", tls=tls)
    mso = serve(start_mso, broker, tmp_path)
    assert play(broker, "--models", "2", "--run-seconds", "1")["differences"] == []
    mso.stop()
    request = order(configuration("m", "no such image")).SerializeToString()
    with Party(broker.login("model")) as model, Party(broker.login("so")) as so:
        model.publish("/lifecycle/fake-so/mso/forged/DeployModels", request)
        so.publish("/lifecycle/fake-so/mso/kept/DeployModels", request, qos=0)
        so.publish("/lifecycle/fake-so/mso/kept-too/DeployModels", request)
    broker.stop()
    broker.start()
    with Party(broker.login("so"), "/lifecycle/mso/fake-so/#") as so:
        mso.start()
        heard = so.wait(lambda heard: {"kept", "kept-too"} <= ended(heard))
    assert ended(heard) == {"kept", "kept-too"}
    owners = {file.stat().st_uid for file in broker.directory.rglob("*")}
    assert owners == {os.getuid()}


def ended(heard: list[tuple[str, bytes]]) -> set[str]:
    """The simulations that have ended."""
    return {topic.split("/")[4] for topic, _ in heard if topic.endswith("/AllModelsHaveTerminated")}


def users(broker: ShippedMosquitto) -> set[str]:
    """Who was let in."""
    return set(re.findall(r"New client connected .* u'(.*)'", broker.log()))


def of_size(size: int) -> bytes:
    """A DeployModels of exactly so many bytes."""

    def request(padding: int) -> bytes:
        return order(configuration("m", "no such image", PADDING="x" * padding)).SerializeToString()

    padding = size - len(request(size)) + size  # what lengths are written with is as long for both
    assert len(request(padding)) == size
    return request(padding)


def wait_until_saved(broker: ShippedMosquitto, what: bytes) -> None:
    deadline = time.monotonic() + SAVED_WITHIN_SECONDS
    while what not in broker.saved():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # the disk of another process can only be looked at again
