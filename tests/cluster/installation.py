"""MSO in the cluster itself, as the shipped configuration says it, below an overlay such as an operator writes."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.place import LIMIT, Place
from tests.kubernetes_cluster import mso_image

CONFIGURATION = Path(__file__).parents[2] / "k8s_cluster_configuration"
ROLLOUT_LIMIT = "--timeout=55s"
SELECTOR = "app.kubernetes.io/name=mso,app.kubernetes.io/component=service"
"""Selects the pods of MSO itself."""

Manifest = dict[str, Any]


def overlay(
    directory: Path,
    namespace: str,
    *,
    of: str = "base",
    components: Sequence[str] = (),
    image: str = "",
    variables: Mapping[str, str] | None = None,
    patches: Sequence[Manifest] = (),
) -> Path:
    """A copy of the configuration with one more overlay in it; the directory of that."""
    copy = directory / "k8s_cluster_configuration"
    shutil.copytree(CONFIGURATION, copy, dirs_exist_ok=True)
    name, _, tag = image.rpartition(":")
    merged = {
        "name": "mso",
        "behavior": "merge",
        "literals": [f"{key}={value}" for key, value in (variables or {}).items()],
    }
    made = copy / "overlays" / "test"
    made.mkdir(exist_ok=True)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [f"../../{of}"],
        "components": [f"../../components/{component}" for component in components],
        "images": [{"name": "mso", "newName": name, "newTag": tag}] if tag else [],
        "configMapGenerator": [merged] if variables else [],
        "patches": list(patches),
    }
    (made / "kustomization.yaml").write_text(json.dumps(kustomization))  # JSON is YAML
    return made


@dataclass(frozen=True, slots=True)
class Installation:
    """MSO in a namespace that is there."""

    place: Place
    directory: Path

    def make_secret(self, **data: str) -> None:
        """What is secret of its configuration."""
        literals = [f"--from-literal={name}={value}" for name, value in data.items()]
        self.place.kubectl("create", "secret", "generic", "mso", *literals)

    def apply(self, *components: str, broker_port: int, **variables: str) -> None:
        """Returns when it is rolled out: its pods are ready."""
        # Where policies are enforced, what is not at its usual port has to be let through.
        through = {"op": "add", "path": "/spec/egress/-", "value": {"ports": [{"port": broker_port}]}}
        policy = {"target": {"kind": "NetworkPolicy", "name": "mso"}, "patch": json.dumps([through])}
        made = overlay(
            self.directory,
            self.place.namespace,
            components=components,
            image=mso_image(self.place.cluster),
            variables=variables | {"MQTT_PORT": str(broker_port)},
            patches=[policy],
        )
        self.place.cluster.kubectl("apply", "--server-side", "--kustomize", str(made))
        self.wait_until_rolled_out()

    def remove(self) -> None:
        """Returns when none of its pods is left."""
        self.place.kubectl("delete", "deployment", "mso", "--cascade=foreground", LIMIT)

    def wait_until_rolled_out(self) -> None:
        """All of its pods are of the newest kind, and ready. In its own words where that does not happen."""
        try:
            self.place.kubectl("rollout", "status", "deployment/mso", ROLLOUT_LIMIT)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.place.kubectl('describe', 'pods', '-l', SELECTOR)}") from error

    def pods(self) -> list[Manifest]:
        """Those of MSO itself."""
        found = json.loads(self.place.kubectl("get", "pods", "-l", SELECTOR, "-o", "json"))
        items: list[Manifest] = found["items"]
        return items

    def pod(self) -> str:
        """The name of the only one."""
        (pod,) = self.pods()
        name: str = pod["metadata"]["name"]
        return name

    def events(self, pod: str, name: str) -> list[dict[str, Any]]:
        """What it logged under this name."""
        lines = self.place.kubectl("logs", pod).splitlines()
        return [event for line in lines if line.startswith("{") and (event := json.loads(line))["event"] == name]
