"""The pods of a namespace as an outsider sees them: a watch of its own, with kubectl, that remembers every one."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

from tests.chaos.evidence import Pod
from tests.kubernetes_cluster import Cluster

_AGAIN_SECONDS = 0.5
"""After which it is begun again; the API server may be dead."""


class PodWatch:
    """Sees while `with` lasts, but not what came and went while the API was away: what ran there told so itself."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._command = [
            *("kubectl", "--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace),
            *("get", "pods", "--watch", "-o", "json"),
        ]
        self._seen: dict[str, Pod] = {}
        self._handed_over: set[str] = set()
        self._process: subprocess.Popen[str] | None = None
        self._over = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._follow, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        if self._process:
            self._process.kill()

    def new(self) -> list[Pod]:
        """Those that were not there when this was asked last."""
        fresh = [pod for uid, pod in list(self._seen.items()) if uid not in self._handed_over]
        self._handed_over |= {pod.uid for pod in fresh}
        return fresh

    def _follow(self) -> None:
        while not self._over.is_set():
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
            )
            with self._process as process:
                assert process.stdout
                for pod in _documents(iter(process.stdout.readline, "")):
                    self._note(pod)
            self._over.wait(_AGAIN_SECONDS)

    def _note(self, pod: dict[str, Any]) -> None:
        if (seen := pod_of(pod)) and seen.uid not in self._seen:
            self._seen[seen.uid] = seen


def pod_of(pod: dict[str, Any]) -> Pod | None:
    """Whose it is, by the environment that its request asked for."""
    variables = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0].get("env") or ()}
    simulation, model = variables.get("SIMULATION_ID"), variables.get("MODEL_ID")
    if not simulation or not model:
        return None
    metadata = pod["metadata"]
    return Pod(simulation, model, metadata["uid"], metadata["name"], time.monotonic())


def _documents(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Each JSON object; they are printed over many lines, and end with a bracket at the beginning of one."""
    gathered: list[str] = []
    for line in lines:
        gathered.append(line)
        if line.startswith("}"):
            yield json.loads("".join(gathered))
            gathered.clear()
