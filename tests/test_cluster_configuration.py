"""The cluster configuration as files: it renders, it fits together, and it grants exactly what MSO asks the API for."""

import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from mso import __version__
from mso.backplane.kubernetes_permissions import VERBS
from mso.config import Config
from tests.cluster.installation import CONFIGURATION, overlay

ROOT = CONFIGURATION.parent
COMPONENTS = sorted(path.name for path in (CONFIGURATION / "components").iterdir())
OVERLAYS = ("overlays/kind", "overlays/remote")
NAMESPACED = "another"

needs_kubectl = pytest.mark.skipif(which("kubectl") is None, reason="no kubectl here, which renders it")

Manifest = dict[str, Any]


def rendered(directory: Path) -> list[Manifest]:
    """What would be applied. That it does not render is an AssertionError in the words of kustomize."""
    done = subprocess.run(["kubectl", "kustomize", directory], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def one(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    (found,) = (it for it in manifests if it["kind"] == kind and name in ("", it["metadata"]["name"]))
    return found


def labels_of_pods(manifests: list[Manifest]) -> dict[str, str]:
    labels: dict[str, str] = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    return labels


def test_the_role_grants_what_is_asked_for_and_no_more() -> None:
    """The file that operators apply, and the list that MSO checks at its start."""
    role = yaml.safe_load((CONFIGURATION / "base" / "role.yaml").read_text())
    granted = [
        (group, resource, tuple(rule["verbs"]))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    ]
    assert granted == list(VERBS)


@needs_kubectl
def test_the_rendered_base_is_that_of_today() -> None:
    """Who has no kustomize applies the same."""
    done = subprocess.run(
        [ROOT / "ci" / "render_cluster_setup.sh", "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@needs_kubectl
@pytest.mark.parametrize("of", ("base", *OVERLAYS))
def test_another_namespace_is_said_once(tmp_path: Path, of: str) -> None:
    """`namespace` of an overlay is that of all, of the Namespace itself, and of whom the Role is bound to."""
    components = ["model-network"] if of == "overlays/remote" else COMPONENTS  # it has one of the others already
    manifests = rendered(overlay(tmp_path, NAMESPACED, of=of, components=components))
    assert one(manifests, "Namespace")["metadata"]["name"] == NAMESPACED
    assert {it["metadata"].get("namespace") for it in manifests if it["kind"] != "Namespace"} == {NAMESPACED}
    assert [subject["namespace"] for subject in one(manifests, "RoleBinding")["subjects"]] == [NAMESPACED]


@needs_kubectl
@pytest.mark.parametrize("of", ("base", *OVERLAYS))
def test_it_runs_the_release_that_it_is_of(of: str) -> None:
    """By a tag that is never another image tomorrow."""
    (container,) = one(rendered(CONFIGURATION / of), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"].rpartition("/")[2] == f"mso:{__version__}"


@needs_kubectl
@pytest.mark.parametrize("of", ("base", *OVERLAYS))
def test_no_secret_is_in_it(of: str) -> None:
    """MSO's is made by whoever installs it; a service account's by the cluster."""
    assert "Secret" not in {it["kind"] for it in rendered(CONFIGURATION / of)}


@needs_kubectl
@pytest.mark.parametrize("of", ("base", *OVERLAYS))
def test_its_variables_are_those_of_the_configuration(of: str) -> None:
    """In the ConfigMap and in the Deployment, which win over it: there is no variable that nobody reads."""
    manifests = rendered(CONFIGURATION / of)
    (container,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    said = {*one(manifests, "ConfigMap")["data"], *(variable["name"] for variable in container["env"])}
    assert said <= {field.metadata["variable"] for field in Config.__dataclass_fields__.values()}


@needs_kubectl
def test_a_changed_variable_restarts_it(tmp_path: Path) -> None:
    """The ConfigMap has another name then, and the pods name it."""
    pods = []
    for level in ("INFO", "DEBUG"):
        manifests = rendered(overlay(tmp_path, "dots", of="overlays/remote", variables={"LOG_LEVEL": level}))
        (container,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
        assert one(manifests, "ConfigMap")["metadata"]["name"] == container["envFrom"][0]["configMapRef"]["name"]
        pods.append(container)
    assert pods[0] != pods[1]


@needs_kubectl
def test_what_selects_the_pods_of_mso_selects_them_all(tmp_path: Path) -> None:
    """Deployment, Service, budget and policy; and the ServiceMonitor the Service, by a port that it has."""
    manifests = rendered(overlay(tmp_path, "dots", components=COMPONENTS))
    service, monitor = one(manifests, "Service"), one(manifests, "ServiceMonitor")["spec"]
    selectors = [
        one(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
        one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(manifests, "NetworkPolicy", "mso")["spec"]["podSelector"]["matchLabels"],
        service["spec"]["selector"],
    ]
    assert all(selector.items() <= labels_of_pods(manifests).items() for selector in selectors)
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= {
        port["name"] for port in service["spec"]["ports"]
    }


@needs_kubectl
def test_nothing_of_it_passes_for_a_model(tmp_path: Path) -> None:
    """By `managed-by: mso` MSO knows its pods, and an operator deletes them."""
    manifests = rendered(overlay(tmp_path, "dots", components=COMPONENTS))
    labels = [it["metadata"].get("labels", {}) for it in manifests] + [labels_of_pods(manifests)]
    assert [one for one in labels if "app.kubernetes.io/managed-by" in one] == []


@needs_kubectl
def test_only_one_replica_has_a_ledger_of_its_own(tmp_path: Path) -> None:
    """The base replaces it whole; two have a database, and are replaced one after the other."""
    alone = one(rendered(overlay(tmp_path, "dots", components=["persistent-ledger"])), "Deployment")["spec"]
    assert (alone["replicas"], alone["strategy"]) == (1, {"type": "Recreate"})
    claims = [volume.get("persistentVolumeClaim") for volume in alone["template"]["spec"]["volumes"]]
    assert {"claimName": "mso"} in claims
    pair = one(rendered(overlay(tmp_path, "dots", components=["standby"])), "Deployment")["spec"]
    assert (pair["replicas"], pair["strategy"]["type"]) == (2, "RollingUpdate")
    (container,) = pair["template"]["spec"]["containers"]
    database = next(variable for variable in container["env"] if variable["name"] == "MSO_DATABASE_URL")
    assert database["valueFrom"]["secretKeyRef"] == {"name": "mso", "key": "MSO_DATABASE_URL"}
