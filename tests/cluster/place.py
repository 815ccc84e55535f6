"""A namespace of the cluster, seen with kubectl: pods by the id of their model, and what is done to them by others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.kubernetes_cluster import Cluster

Pod = dict[str, Any]

LIMIT = "--timeout=60s"


@dataclass(frozen=True, slots=True)
class Place:
    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(*arguments, "--namespace", self.namespace)

    def pods(self) -> dict[str, Pod]:
        """Those of MSO, by model; there may be one of each."""
        ours = [pod for pod in self.cluster.pods(self.namespace) if "mso/model-id" in _annotations(pod)]
        found = {_annotations(pod)["mso/model-id"]: pod for pod in ours}
        assert len(found) == len(ours), [pod["metadata"]["name"] for pod in ours]
        return found

    def living(self) -> set[str]:
        """Models whose pods have not ended."""
        return {model for model, pod in self.pods().items() if pod["status"]["phase"] not in ("Succeeded", "Failed")}

    def uids(self) -> dict[str, str]:
        return {model: pod["metadata"]["uid"] for model, pod in self.pods().items()}

    def name(self, model: str) -> str:
        name: str = self.pods()[model]["metadata"]["name"]
        return name

    def delete(self, model: str, *, force: bool = False) -> None:
        """As somebody does it by hand."""
        self.cluster.delete_pod(self.namespace, self.name(model), force=force)

    def patch_status(self, model: str, status: Mapping[str, Any]) -> None:
        """As a kubelet or a controller does it."""
        self.cluster.patch_status(self.namespace, self.name(model), status)

    def wait_for_phase(self, model: str, phase: str) -> None:
        self.kubectl("wait", f"--for=jsonpath={{.status.phase}}={phase}", f"pod/{self.name(model)}", LIMIT)

    def wait_until_gone(self, model: str) -> None:
        if model in (pods := self.pods()):
            self.kubectl("wait", "--for=delete", f"pod/{pods[model]['metadata']['name']}", LIMIT)


def _annotations(pod: Pod) -> dict[str, str]:
    annotations: dict[str, str] = pod["metadata"].get("annotations") or {}
    return annotations
