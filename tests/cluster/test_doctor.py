"""What the doctor says of a real cluster, with the credentials of MSO and with those of its administrator."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import mosquitto
from tests.cluster.conftest import NewPlace
from tests.cluster.place import Place
from tests.cluster.test_access import ENFORCE, Credentials, credentials
from tests.kubernetes_cluster import Cluster
from tests.mosquitto import Mosquitto
from tests.service import MsoProcess

__all__ = ["credentials"]  # a fixture

Told = dict[str, dict[str, Any]]
"""Findings by the name of their check."""


class Doctor:
    """`mso doctor` with the configuration of an MSO of this place, which does not run."""

    def __init__(self, broker: Mosquitto, cluster: Cluster, directory: Path) -> None:
        self._broker = broker
        self._cluster = cluster
        self._directory = directory

    def __call__(self, namespace: str, **variables: str) -> tuple[int, Told]:
        usual = {
            "MSO_BACKPLANE": "kubernetes",
            "KUBECONFIG": str(self._cluster.kubeconfig),
            "KUBERNETES_NAMESPACE": namespace,
        }
        told = MsoProcess(self._broker, self._directory / "mso", **(usual | variables)).command("doctor", "--json")
        return told.returncode, {one["check"]: one for one in json.loads(told.stdout)["checks"]}


@pytest.fixture
def doctor(cluster: Cluster, tmp_path: Path) -> Iterator[Doctor]:
    """With a broker that no pod has to reach."""
    if not mosquitto.available():
        pytest.skip(mosquitto.INSTALL_HINT)
    with Mosquitto(tmp_path / "mosquitto", persistence=False) as broker:
        yield Doctor(broker, cluster, tmp_path)


def grades(found: Told, grade: str) -> list[str]:
    return [check for check, one in found.items() if one["grade"] == grade]


def test_with_the_documented_role_nothing_is_wrong(cluster: Cluster, doctor: Doctor, credentials: Credentials) -> None:
    """What that Role may not look at is skipped; a pod would be admitted, and none is there afterwards."""
    variables = credentials()
    place = Place(cluster, variables["KUBERNETES_NAMESPACE"])
    status, found = doctor(place.namespace, KUBERNETES_PULL_IMAGE_SECRET_NAME="pull", **variables)
    assert status == 0, found
    assert grades(found, "wrong") == grades(found, "warning") == []
    assert grades(found, "skipped") == ["namespace", "pull secret", "quota", "node room"]
    assert found["identity"]["what"] == f"system:serviceaccount:{place.namespace}:mso"
    assert found["pods admitted"]["grade"] == "ok"
    assert place.pods() == {}


def test_a_verb_that_the_role_lacks_is_named(place: Place, doctor: Doctor, credentials: Credentials) -> None:
    """Status 1, and the rule to add."""
    status, found = doctor(place.namespace, **credentials(("deletecollection", "pods")))
    assert (status, grades(found, "wrong")) == (1, ["permission pods"])
    assert "may not deletecollection" in found["permission pods"]["what"]
    assert "verbs: [deletecollection]" in found["permission pods"]["advice"]


def test_an_administrator_is_told_real_numbers(place: Place, doctor: Doctor) -> None:
    """Nodes, what is left on them, and quotas."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"pods": "7"}}}
    place.cluster.create({**quota, "metadata": {"name": "few", "namespace": place.namespace}})
    place.kubectl("wait", "--for=jsonpath={.status.used.pods}=0", "resourcequota/few", "--timeout=60s")
    status, found = doctor(place.namespace)
    assert status == 0, found
    assert "nodes take such pods" in found["node room"]["what"]
    assert found["quota"]["what"] == "pods 0 of 7"
    assert found["namespace"]["grade"] == "ok"


def test_a_namespace_that_is_not_there(place: Place, doctor: Doctor) -> None:
    """Told once, with what to do."""
    status, found = doctor("mso-test-nowhere")
    assert (status, grades(found, "wrong")) == (1, ["namespace"])
    assert "kubectl create namespace mso-test-nowhere" in found["namespace"]["advice"]


def test_a_pull_secret_that_is_missing_or_of_another_kind(place: Place, doctor: Doctor) -> None:
    """For who may look; what it holds is told to nobody."""
    status, found = doctor(place.namespace, KUBERNETES_PULL_IMAGE_SECRET_NAME="pull")
    assert (status, grades(found, "wrong")) == (1, ["pull secret"])
    place.kubectl("create", "secret", "generic", "pull", "--from-literal=password=not-to-be-seen")
    status, found = doctor(place.namespace, KUBERNETES_PULL_IMAGE_SECRET_NAME="pull")
    assert (status, "of type Opaque" in found["pull secret"]["what"]) == (1, True)
    assert "not-to-be-seen" not in json.dumps(found)
    place.kubectl("delete", "secret", "pull")
    login = ("--docker-server=r.example.org", "--docker-username=me", "--docker-password=not-to-be-seen")
    place.kubectl("create", "secret", "docker-registry", "pull", *login)
    assert doctor(place.namespace, KUBERNETES_PULL_IMAGE_SECRET_NAME="pull")[0] == 0


def test_pods_that_the_namespace_would_not_admit(new_place: NewPlace, doctor: Doctor) -> None:
    """In the words of the API, with the setting that mends it; with that nothing is wrong."""
    place = new_place(**{ENFORCE: "restricted"})
    status, found = doctor(place.namespace)
    assert (status, grades(found, "wrong")) == (1, ["pods admitted"])
    assert "violates PodSecurity" in found["pods admitted"]["what"]
    assert "MSO_POD_SECURITY=restricted" in found["pods admitted"]["advice"]
    assert doctor(place.namespace, MSO_POD_SECURITY="restricted")[0] == 0


def test_a_token_that_nobody_gave(place: Place, doctor: Doctor, credentials: Credentials) -> None:
    """The credentials are wrong, and it is not the network."""
    status, found = doctor(place.namespace, **{**credentials(), "KUBERNETES_API_TOKEN": "guessed"})
    assert (status, grades(found, "wrong")) == (1, ["cluster"])
    assert "not valid" in found["cluster"]["advice"]
