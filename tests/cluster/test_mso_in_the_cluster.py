"""MSO as a pod of the cluster in which its models run, under the Role that is shipped and nothing else."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests import kubernetes_cluster, mosquitto, postgres
from tests.cluster.conftest import NewPlace
from tests.cluster.images import NO_IMAGE
from tests.cluster.installation import CONFIGURATION, Installation, overlay
from tests.cluster.place import LIMIT, Place
from tests.cluster.test_quickstart import fake_model
from tests.kubernetes_cluster import Cluster, fake_model_image
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.postgres import Postgres
from tests.service import wait_until
from tests.tcp_proxy import TcpProxy
from tests.told import reasons

SCENARIO = Path(__file__).parents[2] / "simulation_components" / "fake_simulator" / "scenarios" / "quickstart.yaml"
Install = Callable[..., Installation]
MODELS = "app.kubernetes.io/managed-by=mso"
PATIENCE_SECONDS = 100

pytestmark = pytest.mark.timeout(300)  # pods begin one after the other, on a node that may have much to do


@pytest.fixture(scope="module")
def broker(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One for all tests of this module, as MSO is."""
    if not mosquitto.available():
        pytest.skip(mosquitto.INSTALL_HINT)
    directory = tmp_path_factory.mktemp("mosquitto")
    with Mosquitto(directory, persistence=False, also_at=cluster.gateway()) as broker:
        yield broker


@pytest.fixture(scope="module")
def install(cluster: Cluster, broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """Installs MSO in a namespace of its own, with these components and for this simulator."""
    with ExitStack() as made:

        def new(
            simulator: str, *components: str, before: Callable[[str], None] = lambda _: None, **secrets: str
        ) -> Installation:
            namespace = cluster.create_namespace("mso-test")
            made.callback(cluster.delete_namespace, namespace)
            before(namespace)
            installation = Installation(Place(cluster, namespace), tmp_path_factory.mktemp("installation"))
            installation.make_secret(MQTT_USERNAME=broker.username, MQTT_PASSWORD=broker.password, **secrets)
            installation.apply(
                *components, broker_port=broker.port, MQTT_HOST=cluster.gateway(), SIMULATOR_NAME=simulator
            )
            return installation

        yield new


@pytest.fixture(scope="module")
def installed(install: Install) -> Installation:
    """As the base has it, and with the policy for models."""
    return install("fake-so,test-so", "model-network")


@pytest.fixture(scope="module")
def quickstart(
    cluster: Cluster, broker: Mosquitto, installed: Installation, tmp_path_factory: pytest.TempPathFactory
) -> subprocess.CompletedProcess[str]:
    """The quickstart as the fake simulation orchestrator plays it, with real containers of the fake model."""
    scenario = tmp_path_factory.mktemp("scenario") / "quickstart.yaml"
    scenario.write_text(SCENARIO.read_text().replace("fake_model:0.0.1", fake_model_image(cluster)))
    address = {
        "MQTT_HOST": cluster.gateway(),
        "MQTT_PORT": str(broker.port),
        "MQTT_USERNAME": broker.username,
        "MQTT_PASSWORD": broker.password,
    }
    return subprocess.run(
        [sys.executable, "-m", "fake_simulator", "--scenario", scenario],
        env={"PATH": os.environ["PATH"], **address},
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        text=True,
        check=False,
    )


def test_mso_in_its_pod_serves_the_quickstart(quickstart: subprocess.CompletedProcess[str]) -> None:
    """Two models end well and two crash, and the simulation orchestrator hears all of it as the scenario says."""
    assert quickstart.returncode == 0, quickstart.stdout + quickstart.stderr


def test_every_verb_of_the_role_is_used_and_no_other(
    cluster: Cluster,
    broker: Mosquitto,
    installed: Installation,
    quickstart: subprocess.CompletedProcess[str],
) -> None:
    """What the audit log has of its service account: for a quickstart, a limit of time, and what goes on beside."""
    assert quickstart.returncode == 0
    place = installed.place
    with Peer(broker) as peer:
        late = configuration("a", NO_IMAGE)  # so nothing has to be ended, which would take its grace
        late.readyTimeoutSeconds = 1
        peer.deploy("late", order(late, version=2))
        assert reasons(peer.wait_for_end("late"))["a"][0] == "ReadyTimeout"
    place.kubectl("wait", "--for=delete", "pods", "--selector", MODELS, LIMIT)
    role = json.loads(place.kubectl("get", "role", "mso", "-o", "json"))
    granted = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    place.kubectl("delete", "pod", installed.pod())  # a watch is written down when it has ended
    wait_until(lambda: ("pods", "watch") in asked(cluster, place.namespace))
    assert asked(cluster, place.namespace) == granted
    installed.wait_until_rolled_out()


def asked(cluster: Cluster, namespace: str) -> set[tuple[str, str]]:
    """Resource and verb of all that the service account `mso` of a namespace asked there."""
    account = f"system:serviceaccount:{namespace}:mso"
    log = cluster.audit()
    found = set()
    for path in (*log.parent.glob(f"{log.stem}-*{log.suffix}"), log):  # the API server begins a new one now and then
        with path.open(encoding="utf-8") as lines:
            for entry in (json.loads(line) for line in lines if account in line):
                of = entry.get("objectRef") or {}
                if entry["user"]["username"] == account and of.get("namespace") == namespace:
                    found.add(("/".join(filter(None, (of["resource"], of.get("subresource")))), entry["verb"]))
    return found


def test_its_pod_passes_restricted(new_place: NewPlace, installed: Installation) -> None:
    """A namespace that enforces Pod Security *restricted* takes it."""
    deployment = json.loads(installed.place.kubectl("get", "deployment", "mso", "-o", "json"))
    place = new_place(**{"pod-security.kubernetes.io/enforce": "restricted"})
    template = deployment["spec"]["template"]
    spec = template["spec"] | {"serviceAccountName": "default", "serviceAccount": "default"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mso"}, "spec": spec}
    place.cluster.kubectl("create", "--dry-run=server", "-n", place.namespace, "-f", "-", input=json.dumps(pod))


def test_each_policy_of_the_network_selects_whom_it_is_for(
    cluster: Cluster, broker: Mosquitto, installed: Installation
) -> None:
    """One the pod of MSO and no model, the other the pods of models and not MSO."""
    place = installed.place
    with Peer(broker) as peer:
        peer.deploy("sim-net", order(fake_model(cluster, broker, "sim-net", "a", RUN_SECONDS="until-done")))
        peer.wait_for("sim-net", "ModelsReady")
        chosen = {}
        for policy in json.loads(place.kubectl("get", "networkpolicies", "-o", "json"))["items"]:
            labels = policy["spec"]["podSelector"]["matchLabels"]
            selector = ",".join(f"{key}={value}" for key, value in labels.items())
            chosen[policy["metadata"]["name"]] = place.kubectl(
                "get", "pods", "--selector", selector, "-o", "name"
            ).split()
        assert chosen == {"mso": [f"pod/{installed.pod()}"], "mso-models": [f"pod/{place.name('a')}"]}
        peer.publish("/lifecycle/fake-so/model/sim-net/a/SimulationDone")
        peer.wait_for_end("sim-net")


def test_without_a_volume_it_goes_on_with_what_the_pods_carry(
    cluster: Cluster, broker: Mosquitto, installed: Installation
) -> None:
    """Evicted, as by a drain, which its budget lets pass: the next pod has no ledger, and tells how the model ends."""
    place, before = installed.place, installed.pod()
    with Peer(broker) as peer:
        peer.deploy(
            "sim-move", order(fake_model(cluster, broker, "sim-move", "a", RUN_SECONDS="until-done"), version=2)
        )
        peer.wait_for("sim-move", "ModelsReady")
        evict(place, before)
        place.kubectl("wait", "--for=delete", f"pod/{before}", LIMIT)
        installed.wait_until_rolled_out()
        assert installed.pod() != before
        (adopted,) = installed.events(installed.pod(), "simulation.adopted")
        assert (adopted["simulation"], adopted["living"]) == ("sim-move", 1)
        peer.publish("/lifecycle/fake-so/model/sim-move/a/SimulationDone")
        heard = peer.wait_for_end("sim-move")
    assert reasons(heard) == {"a": ("Completed", 0)}
    assert [message.name for message in heard].count("ModelsReady") == 1


def evict(place: Place, pod: str) -> None:
    """As `kubectl drain` does it: the API refuses while a PodDisruptionBudget does not let it go."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": place.namespace}}
    path = f"/api/v1/namespaces/{place.namespace}/pods/{pod}/eviction"
    place.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))


def test_what_prometheus_asks_for_is_answered_by_the_service(installed: Installation) -> None:
    """/metrics behind the Service `mso`."""
    path = f"/api/v1/namespaces/{installed.place.namespace}/services/mso:http/proxy/metrics"
    assert "\nmso_broker_connected 1.0\n" in installed.place.cluster.kubectl("get", "--raw", path)


@pytest.mark.parametrize("of", ("overlays/kind", "overlays/remote"))
def test_the_api_takes_each_overlay(place: Place, tmp_path: Path, of: str) -> None:
    """Every object of it, with no field that the API does not know."""
    made = overlay(tmp_path, place.namespace, of=of)
    place.cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "--kustomize", str(made))


def test_the_api_takes_the_rendered_base_under_another_name(place: Place) -> None:
    """Written into a copy of the file, as somebody without kustomize does it."""
    copy = (CONFIGURATION / "mso_cluster_setup.yaml").read_text().replace(": dots\n", f": {place.namespace}\n")
    options = ("--server-side", "--dry-run=server", "--validate=strict", "--filename", "-")
    applied = place.cluster.kubectl("apply", *options, input=copy).splitlines()
    assert len(applied) == copy.count("\n---\n") + 1


@pytest.fixture
def volume(cluster: Cluster) -> Iterator[Callable[[str], None]]:
    """Gives the claim `mso` of a namespace a directory of the node, as a provisioner would."""
    with ExitStack() as made:

        def provide(namespace: str) -> None:
            place = os.environ.get("MSO_TEST_SHARED_DIRECTORY")
            directory = made.enter_context(tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True))
            kubernetes_cluster.require_shared(cluster, Path(directory))
            Path(directory).chmod(0o777)  # as `fsGroup` does it for volumes of most kinds, and not for this one
            name = f"{namespace}-ledger"
            spec = {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "claimRef": {"namespace": namespace, "name": "mso"},
                "hostPath": {"path": directory},
            }
            cluster.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
            made.callback(cluster.kubectl, "delete", "persistentvolume", name, "--wait=false")

        yield provide


def test_with_a_volume_its_ledger_outlives_the_pod(
    cluster: Cluster, broker: Mosquitto, install: Install, volume: Callable[[str], None]
) -> None:
    """Deleted while a model runs: the next pod knows from its ledger what there is, and tells how the model ends."""
    installation = install("ledger-so", "persistent-ledger", before=volume)
    with Peer(broker, "ledger-so") as peer:
        peer.deploy(
            "sim-kept", order(fake_model(cluster, broker, "sim-kept", "a", RUN_SECONDS="until-done"), version=2)
        )
        peer.wait_for("sim-kept", "ModelsReady")
        installation.place.kubectl("delete", "pod", installation.pod())
        installation.wait_until_rolled_out()
        (opened,) = installation.events(installation.pod(), "ledger.opened")
        assert opened["runs"] == 1
        peer.publish("/lifecycle/fake-so/model/sim-kept/a/SimulationDone")
        assert reasons(peer.wait_for_end("sim-kept")) == {"a": ("Completed", 0)}


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    """The URL of one that pods reach."""
    if postgres.find_programs() is None:
        pytest.skip(postgres.INSTALL_HINT)
    with Postgres() as server, TcpProxy("127.0.0.1", server.port, at=cluster.gateway()) as proxy:
        url = make_url(server.databases.create()).set(host=cluster.gateway(), port=proxy.port)
        yield url.render_as_string(hide_password=False)


def test_of_two_the_other_takes_over_and_a_roll_out_comes_to_its_end(
    cluster: Cluster, broker: Mosquitto, install: Install, database: str
) -> None:
    """Both are ready, so a drain may evict the active one; then both are replaced, while a model runs."""
    installation = install("pair-so", "standby", MSO_DATABASE_URL=database)
    place = installation.place
    wait_until(lambda: serves(installation))  # a pod of these is ready as soon as it is alive
    with Peer(broker, "pair-so") as peer:
        peer.deploy(
            "sim-pair", order(fake_model(cluster, broker, "sim-pair", "a", RUN_SECONDS="until-done"), version=2)
        )
        peer.wait_for("sim-pair", "ModelsReady")
        first = active(installation)
        evict(place, first)
        wait_until(lambda: active(installation) not in ("", first))
        installation.wait_until_rolled_out()
        old = {pod["metadata"]["name"] for pod in installation.pods()}
        place.kubectl("rollout", "restart", "deployment/mso")
        installation.wait_until_rolled_out()
        wait_until(lambda: active(installation) not in old | {""})
        peer.publish("/lifecycle/fake-so/model/sim-pair/a/SimulationDone")
        heard = peer.wait_for_end("sim-pair")
    installation.remove()  # before its database goes
    assert reasons(heard) == {"a": ("Completed", 0)}
    assert [message.name for message in heard].count("ModelsReady") == 1


def serves(installation: Installation) -> bool:
    """Whether the active one has its session at the broker, which from then on keeps what is sent to it."""
    pod = active(installation)
    return bool(pod) and "mso-pair-so" in {event["client_id"] for event in installation.events(pod, "broker.connected")}


def active(installation: Installation) -> str:
    """The name of the pod that holds the lease; empty while none of them does."""
    holder = installation.place.kubectl("get", "lease", "mso", "-o", "jsonpath={.spec.holderIdentity}")
    return next((name for pod in installation.pods() if holder.startswith(f"{(name := pod['metadata']['name'])}-")), "")
