"""The world on a cluster: models are pods, which people delete by hand, and the API server and etcd fail as well.

Two MSOs share a ledger on a PostgreSQL: one is active, one stands by. Where there is no PostgreSQL there is one MSO.
Beside the pods of MSO there are strangers that look like them, and have to be left alone.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mso.config import Config
from tests import kubernetes_cluster, postgres
from tests.chaos.evidence import Life, Pod
from tests.chaos.faults import Fault, Kind
from tests.chaos.plan import IMAGE, Can, Hand
from tests.chaos.pods import PodWatch, pod_of
from tests.chaos.world import World, between
from tests.kubernetes_cluster import Cluster, python_image
from tests.postgres import Postgres
from tests.tcp_proxy import TcpProxy

GRACE_SECONDS = 2
_GONE_SECONDS = 60.0
"""How long pods may take to vanish after the last word about them."""
_HAND_SECONDS = 20.0
"""How long somebody tries to delete a pod while the API is away."""


def trouble() -> str:
    """Why there is no such world here; empty if there is."""
    if not kubernetes_cluster.available():
        return kubernetes_cluster.INSTALL_HINT
    return "" if os.environ.get("MSO_TEST_CLUSTER_COMMAND") else kubernetes_cluster.COMMAND_HINT


def _shares_a_ledger() -> bool:
    return any(field.metadata.get("variable") == "MSO_DATABASE_URL" for field in fields(Config))


class ClusterWorld(World):
    backplane = "kubernetes"
    rest_seconds = 240.0  # a cluster whose API server was killed needs a minute itself until it starts pods again
    can = Can(signals=False, hands=True, slots=3, models=4)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.cluster = Cluster(Path(os.environ["MSO_TEST_KUBECONFIG"]), Path(os.environ["MSO_TEST_CLUSTER_COMMAND"]))
        self.address = self.cluster.gateway()
        self.postgres: Postgres | None = None
        self._kept: set[str] = set()

    @property
    def kinds(self) -> frozenset[Kind]:
        more = {kind for kind in Kind if kind.lane == "api" or (kind.lane == "database" and self.postgres)}
        return super().kinds | more

    def left(self) -> list[str]:
        if any(fault.kind is Kind.CLOCK_JUMP and fault.note.startswith("+") for fault in self.happened):
            # A run whose end MSO dated by a clock that was ahead is kept until that time has come.
            self._kept |= {name for name, phase in self._ours().items() if phase in ("Succeeded", "Failed")}
        deadline = time.monotonic() + _GONE_SECONDS
        while (found := self._unwanted()) and time.monotonic() < deadline:
            time.sleep(0.5)  # what is to go can only be looked for
        return [f"pod {name}, {phase}" for name, phase in found.items()]

    def _unwanted(self) -> dict[str, str]:
        return {name: phase for name, phase in self._ours().items() if name not in self._kept}

    def touched(self) -> list[str]:
        now = self._strangers()
        return [
            f"pod {name}: was {was}, is {now.get(name)}" for name, was in self._before.items() if now.get(name) != was
        ]

    def pods(self) -> list[Pod]:
        return self._watch.new()

    def _begin_msos(self) -> None:
        enter, cluster = self._stack.enter_context, self.cluster
        self.namespace = cluster.create_namespace("mso-chaos")
        self._stack.callback(self._clean_up)
        self._make_strangers()
        self._watch = enter(PodWatch(cluster, self.namespace))
        self.register.lay_hands = self._lay_hands
        server = urlsplit(cluster.access()["clusters"][0]["cluster"]["server"])
        assert server.hostname
        self.for_api = enter(TcpProxy(server.hostname, server.port or 443))
        database: dict[str, str] = {}
        if not postgres.available():
            self.left_out.append(f"one MSO, without a standby: {postgres.INSTALL_HINT}")
        elif not _shares_a_ledger():
            self.left_out.append("one MSO, without a standby: this release knows no MSO_DATABASE_URL")
        else:
            self.postgres = enter(Postgres())
            database["MSO_DATABASE_URL"] = self.postgres.databases.create()
        for number in range(2 if database else 1):
            self._add_mso(
                {
                    "PATH": "/usr/bin:/bin",
                    "MSO_BACKPLANE": "kubernetes",
                    "KUBECONFIG": str(self._kubeconfig()),
                    "KUBERNETES_NAMESPACE": self.namespace,
                    "MSO_POD_TEMPLATE_FILE": str(self._template()),
                    "MSO_IMAGE_PULL_GRACE_SECONDS": "1",
                    "MSO_STATE_DIR": str(self.directory / f"state-{number}"),
                    **database,
                }
            )

    def _fault(self, fault: Fault) -> contextlib.AbstractContextManager[object]:
        cluster, proxy, database = self.cluster, self.for_api, self.postgres
        match fault.kind:
            case Kind.API_CUT:
                return between(proxy.cut, proxy.cut)
            case Kind.API_DELAY:
                return between(proxy.stop_answering, proxy.answer)
            case Kind.API_KILL | Kind.ETCD_KILL:
                name = _component(fault.kind)
                return self._api(lambda: cluster.signal(name, "KILL"), lambda: cluster.start(name))
            case Kind.API_RESTART:
                return self._api(lambda: cluster.stop("apiserver"), lambda: cluster.start("apiserver"))
            case Kind.API_PAUSE | Kind.ETCD_PAUSE:
                name = _component(fault.kind)
                return self._api(lambda: cluster.signal(name, "STOP"), lambda: cluster.signal(name, "CONT"))
            case Kind.DATABASE_KILL:
                assert database
                return between(database.kill, database.start)
            case Kind.DATABASE_PAUSE:
                assert database
                return between(database.pause, database.resume)
            case _:
                return super()._fault(fault)

    @contextlib.contextmanager
    def _api(self, begin: object, end: object) -> Iterator[None]:
        assert callable(begin)
        assert callable(end)
        with between(begin, end):
            yield
        self.cluster.wait_until_it_answers()

    def _lay_hands(self, life: Life, hand: Hand) -> None:
        threading.Thread(target=self._delete, args=(life, hand), daemon=True).start()

    def _delete(self, life: Life, hand: Hand) -> None:
        pod = life.where.partition("@")[2]
        until = time.monotonic() + _HAND_SECONDS
        while life.ended is None and time.monotonic() < until:
            life.hand = time.monotonic()  # it may be done although nobody says so
            try:
                if hand is Hand.EVICTS:
                    self._evict(pod)
                else:
                    self.cluster.delete_pod(self.namespace, pod, force=hand is Hand.DELETES_BY_FORCE)
            except AssertionError:
                time.sleep(1.0)  # the API is away
            else:
                return

    def _evict(self, pod: str) -> None:
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        self.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))

    def _ours(self) -> dict[str, str]:
        """The phases of all pods but strangers, by name."""
        ours = [pod for pod in self.cluster.pods(self.namespace) if pod_of(pod)]
        return {pod["metadata"]["name"]: pod["status"]["phase"] for pod in ours}

    def _kubeconfig(self) -> Path:
        """The way to the API is by a proxy; the certificate is still that of the server."""
        access = self.cluster.access()
        there = access["clusters"][0]["cluster"]
        there["tls-server-name"] = urlsplit(there["server"]).hostname
        there["server"] = f"https://127.0.0.1:{self.for_api.port}"
        path = self.directory / "kubeconfig"
        path.write_text(json.dumps(access))
        return path

    def _template(self) -> Path:
        program = Path(__file__).with_name("model.py").read_text()
        model = {
            "name": "model",
            "image": python_image(self.cluster),
            "command": ["python3", "-I", "-S", "-c", program],
        }
        path = self.directory / "template.json"
        template = {"spec": {"terminationGracePeriodSeconds": GRACE_SECONDS, "affinity": self._real_nodes()}}
        path.write_text(json.dumps({"template": template, "images": {IMAGE: {"spec": {"containers": [model]}}}}))
        return path

    def _real_nodes(self) -> dict[str, Any]:
        """The nodes that are there now: on those that somebody else only plays no model would really run."""
        names = self.cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()
        real = [name for name in names if not name.startswith("fake-")]
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": real}
        terms = [{"matchExpressions": [here]}]
        return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}

    def _clean_up(self) -> None:
        # An API that somebody else has killed meanwhile must not hide what went wrong before.
        with contextlib.suppress(AssertionError):
            self.cluster.delete_namespace(self.namespace)

    def _make_strangers(self) -> None:
        looks = {
            "plain": {},
            "looks-alike": {"simulator_id": "chaos-one-0", "simulation_id": "a-b", "model_id": "m0", "mso/run-id": "x"},
            "of-helm": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/name": "mso"},
        }
        sleeps = {
            "name": "model",
            "image": python_image(self.cluster),
            "command": ["python3", "-I", "-S", "-c", "import time; time.sleep(1e6)"],
        }
        spec = {"containers": [sleeps], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
        for name, labels in looks.items():
            metadata = {"name": name, "namespace": self.namespace, "labels": labels}
            self.cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self.cluster.kubectl(
            "wait", "--namespace", self.namespace, "--for=condition=Ready", "pod", "--all", "--timeout=60s"
        )
        self._before = self._strangers()

    def _strangers(self) -> dict[str, str]:
        pods = [pod for pod in self.cluster.pods(self.namespace) if not pod_of(pod)]
        return {
            pod["metadata"]["name"]: f"{pod['metadata']['uid']} {pod['status']['phase']}"
            f"{' going' if 'deletionTimestamp' in pod['metadata'] else ''}"
            for pod in pods
        }


def _component(kind: Kind) -> str:
    return "etcd" if kind in (Kind.ETCD_KILL, Kind.ETCD_PAUSE) else "apiserver"
