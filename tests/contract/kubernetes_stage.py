"""The Kubernetes stage: a namespace of its own on a real cluster, and puppets in pods.

The strings are a directory of this machine that every puppet has mounted, so the node has to run on the kernel and see
the files of this machine: pipes and locks are shared then, and nothing goes by way of the API that is under test. Where
nodes see only a part of it, as those of kind do, MSO_TEST_SHARED_DIRECTORY names one that they see in the same place.
"""

import asyncio
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mso.backplane.kubernetes import KubernetesBackplane, KubernetesSettings
from mso.backplane.kubernetes_api import Access
from mso.backplane.pod_template import PodTemplate
from mso.backplane.pods import PodSettings, pod_name
from mso.backplane.roster import Limits
from mso.model import Attempt
from tests.contract.stages import PUPPET, until
from tests.kubernetes_cluster import find, python_image, require_shared

RESYNC_SECONDS = 0.5
IMAGE_PULL_SECONDS = 1.0
PATIENCE_SECONDS = 60.0

_ADDED = {
    *("HOSTNAME", "HOME", "PATH"),  # the container runtime
    "LC_CTYPE",  # Python, as it starts
    *("LANG", "GPG_KEY", "PYTHON_VERSION", "PYTHON_SHA256"),  # python:3.12-slim
}
_ADDED_BY_KUBERNETES = "KUBERNETES_"
"""How the variables begin that tell every container where the API is."""


class KubernetesStage:
    """Its puppet is puppet.py in a pod, behind pod_puppet.py."""

    logs_whole_lines = True

    def __init__(self, scratch: Path) -> None:
        self._cluster = find()
        shared = os.environ.get("MSO_TEST_SHARED_DIRECTORY")
        require_shared(self._cluster, Path(shared or tempfile.gettempdir()))
        self._strings = Path(tempfile.mkdtemp(prefix="strings-", dir=shared or scratch))
        self._strings.chmod(0o777)
        self._said: dict[Attempt, bytes] = {}
        template = scratch / "template.yaml"
        template.write_text(yaml.safe_dump({"images": {PUPPET: self._puppet_pod(python_image(self._cluster))}}))
        self._template = PodTemplate.load(template)
        self._namespace = self._cluster.create_namespace("mso-contract")

    def open(self) -> KubernetesBackplane:
        settings = KubernetesSettings(
            namespace=self._namespace,
            pods=PodSettings(template=self._template),
            limits=Limits(image_pull=IMAGE_PULL_SECONDS),
            resync_seconds=RESYNC_SECONDS,
        )
        return KubernetesBackplane(Access(kubeconfig=self._cluster.kubeconfig), settings)

    async def say(self, attempt: Attempt, text: bytes) -> None:
        await self._command(attempt, f"say {text.hex()}")
        said = self._said[attempt] = self._said.get(attempt, b"") + text
        if whole_lines := said.rfind(b"\n") + 1:
            await asyncio.to_thread(self._cluster.await_log, self._namespace, pod_name(attempt), whole_lines)

    async def finish(self, attempt: Attempt, exit_code: int) -> None:
        await self._command(attempt, f"exit {exit_code}")

    async def environment(self, attempt: Attempt) -> Mapping[str, str]:
        await self._begun(attempt)
        pairs = (self._home(attempt) / "environment").read_bytes().rstrip(b"\0").decode().split("\0")
        return {
            name: value
            for name, _, value in (pair.partition("=") for pair in pairs)
            if name not in _ADDED and not name.startswith(_ADDED_BY_KUBERNETES)
        }

    async def running(self, attempt: Attempt) -> int:
        return sum(map(_is_locked, self._home(attempt).glob("alive-*")))

    async def started(self, attempt: Attempt) -> int:
        await self._begun(attempt)
        return len((self._home(attempt) / "pids").read_text().split())

    def plant_foreign(self) -> Callable[[], bool]:
        """A pod without labels, and one with labels for people that look like ours. Nobody else touches them."""
        lookalike = {"simulator_id": "DOTS-so", "simulation_id": "sim02-abc", "model_id": "heat-pump", "run": "1"}
        foreign = {"unlabelled": {}, "lookalike": lookalike}
        self._cluster.create(*(_gated_pod(self._namespace, name, labels) for name, labels in foreign.items()))
        planted = self._foreign_pods()
        return lambda: self._foreign_pods() == planted

    async def close(self) -> None:
        self._cluster.delete_namespace(self._namespace)
        shutil.rmtree(self._strings, ignore_errors=True)  # a puppet may be moving in just now

    def _puppet_pod(self, image: str) -> Mapping[str, Any]:
        sources = [Path(__file__).with_name(name).read_text() for name in ("pod_puppet.py", "puppet.py")]
        container = {
            "name": "model",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-I", "-S", "-c", "\n".join(sources)],
            "volumeMounts": [{"name": "strings", "mountPath": "/strings"}],
        }
        # Not DirectoryOrCreate: a pod that is late would bring the directory back after its test.
        volume = {"name": "strings", "hostPath": {"path": str(self._strings), "type": "Directory"}}
        return {"spec": {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 2}}

    def _foreign_pods(self) -> list[dict[str, Any]]:
        return [pod for pod in self._cluster.pods(self._namespace) if "schedulingGates" in pod["spec"]]

    def _home(self, attempt: Attempt) -> Path:
        return self._strings / pod_name(attempt)

    async def _begun(self, attempt: Attempt) -> None:
        await until((self._home(attempt) / "strings").exists, PATIENCE_SECONDS)

    async def _command(self, attempt: Attempt, command: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (pipe := _pipe(self._home(attempt) / "strings")) is None:
                await asyncio.sleep(0.005)
        with open(pipe, "w") as strings:  # noqa: PTH123 - a descriptor has no path
            await asyncio.to_thread(strings.write, command + "\n")


def _pipe(path: Path) -> int | None:
    """The way to a puppet that listens. One that does not would block whoever opens it, for ever."""
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO):
            return None
        raise
    os.set_blocking(pipe, True)
    return pipe


def _is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _gated_pod(namespace: str, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """It waits for somebody to open its gate, so neither scheduler nor kubelet writes into it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {
            "containers": [{"name": "model", "image": "nobody/starts:it"}],
            "schedulingGates": [{"name": "mso.test/never"}],
        },
    }
