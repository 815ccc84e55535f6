"""A real `mso run`, a real Mosquitto, and a namespace of a real cluster for each test. Without a cluster: skipped."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import kubernetes_cluster, mosquitto
from tests.cluster.gates import Gates
from tests.cluster.images import pod_template
from tests.cluster.place import Place
from tests.kubernetes_cluster import Cluster, python_image
from tests.mosquitto import Mosquitto
from tests.peer import Peer
from tests.service import MsoProcess
from tests.tcp_proxy import TcpProxy

StartMso = Callable[..., MsoProcess]
NewPlace = Callable[..., Place]


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here needs a cluster."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)
            if not kubernetes_cluster.available():
                # As a mark: then they are one line a file in the summary.
                item.add_marker(pytest.mark.skip(reason=kubernetes_cluster.INSTALL_HINT))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    found = kubernetes_cluster.find()
    kubernetes_cluster.require_reachable(found)
    return found


@pytest.fixture
def new_place(cluster: Cluster) -> Iterator[NewPlace]:
    """Makes namespaces, with the labels given."""
    with ExitStack() as made:

        def new(**labels: str) -> Place:
            name = cluster.create_namespace("mso-test", labels)
            made.callback(cluster.delete_namespace, name)
            return Place(cluster, name)

        yield new


@pytest.fixture
def place(new_place: NewPlace) -> Place:
    """A namespace of this test alone."""
    return new_place()


@pytest.fixture
def broker(cluster: Cluster, tmp_path: Path) -> Iterator[Mosquitto]:
    """One that models in pods reach as well."""
    if not mosquitto.available():
        pytest.skip(mosquitto.INSTALL_HINT)
    with Mosquitto(tmp_path / "mosquitto", persistence=False, also_at=cluster.gateway()) as broker:
        yield broker


@pytest.fixture
def peer(broker: Mosquitto) -> Iterator[Peer]:
    """The simulation orchestrator `test-so`."""
    with Peer(broker) as peer:
        yield peer


@pytest.fixture
def gates(cluster: Cluster) -> Iterator[Gates]:
    with Gates(cluster.gateway()) as gates:
        yield gates


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[TcpProxy]:
    server = urlsplit(cluster.access()["clusters"][0]["cluster"]["server"])
    assert server.hostname
    with TcpProxy(server.hostname, server.port or 443) as proxy:
        yield proxy


@pytest.fixture
def by_proxy(cluster: Cluster, proxy: TcpProxy, tmp_path: Path) -> Path:
    """A kubeconfig that leads through the proxy; the certificate is still that of the server."""
    access = cluster.access()
    there = access["clusters"][0]["cluster"]
    there["tls-server-name"] = urlsplit(there["server"]).hostname
    there["server"] = f"https://127.0.0.1:{proxy.port}"
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(access))
    return path


@pytest.fixture
def start_mso(cluster: Cluster, broker: Mosquitto, gates: Gates, tmp_path: Path) -> Iterator[StartMso]:
    """Starts `mso run` for the pods of a place, with the variables given; `wait=False` for one that cannot start."""
    with ExitStack() as running:
        number = iter(range(1000))

        def start(place: Place, *, wait: bool = True, **variables: str) -> MsoProcess:
            template = tmp_path / "template.json"
            template.write_text(json.dumps(pod_template(python_image(cluster), gates.address, ghost_node(place))))
            usual = {
                "MSO_BACKPLANE": "kubernetes",
                "KUBECONFIG": str(cluster.kubeconfig),
                "KUBERNETES_NAMESPACE": place.namespace,
                "MSO_POD_TEMPLATE_FILE": str(template),
            }
            mso = MsoProcess(broker, tmp_path / f"mso-{next(number)}", **(usual | variables))
            running.callback(mso.__exit__)
            mso.start(wait=wait)
            return mso

        yield start


@pytest.fixture
def mso(place: Place, start_mso: StartMso) -> MsoProcess:
    """A running `mso run` that serves `test-so`."""
    return start_mso(place)


def ghost_node(place: Place) -> str:
    """The name of the node that pods of the image `ghost` are bound to; it need not exist."""
    return f"ghost-of-{place.namespace}"
