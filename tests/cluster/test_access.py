"""What MSO may do in a cluster, and what its pods may: as little as will do, and it says so where that is missing."""

import base64
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from mso.backplane import BackplaneError
from mso.config import load
from mso.edges import build_backplane, build_lease
from tests.cluster.conftest import NewPlace, StartMso
from tests.cluster.installation import CONFIGURATION
from tests.cluster.place import Place
from tests.kubernetes_cluster import Cluster
from tests.peer import Peer, configuration, order
from tests.told import reasons, told

ROLE = yaml.safe_load((CONFIGURATION / "base" / "role.yaml").read_text())
ENFORCE = "pod-security.kubernetes.io/enforce"
PATIENCE_SECONDS = 100

Right = tuple[str, str]
"""A verb, and what it is of."""
RIGHTS: list[Right] = [
    (verb, resource) for rule in ROLE["rules"] for resource in rule["resources"] for verb in rule["verbs"]
]
Credentials = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def credentials(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Credentials]:
    """Variables of a service account with the Role that is shipped, but for what is withheld; all in one namespace."""
    there = cluster.access()["clusters"][0]["cluster"]
    server = urlsplit(there["server"])
    authority = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.write_bytes(base64.b64decode(there["certificate-authority-data"]))
    namespace = cluster.create_namespace("mso-test")
    names = {right: f"mso-without-{number}" for number, right in enumerate(RIGHTS)} | {None: "mso"}
    cluster.create(*(one for right, name in names.items() for one in account(namespace, name, right)))

    def variables(withheld: Right | None = None) -> dict[str, str]:
        return {
            "KUBECONFIG": "",
            "KUBERNETES_API_TOKEN": cluster.kubectl("create", "token", names[withheld], "-n", namespace).strip(),
            "KUBERNETES_HOST": server.hostname or "",
            "KUBERNETES_PORT": str(server.port or 443),
            "KUBERNETES_CA_FILE": str(authority),
            "KUBERNETES_NAMESPACE": namespace,
        }

    yield variables
    cluster.delete_namespace(namespace)


def account(namespace: str, name: str, withheld: Right | None) -> Iterator[dict[str, Any]]:
    """A service account, its Role and their binding."""
    group = "rbac.authorization.k8s.io"
    metadata = {"name": name, "namespace": namespace}
    rules = []
    for rule in ROLE["rules"]:
        (resource,) = rule["resources"]
        if granted := [verb for verb in rule["verbs"] if (verb, resource) != withheld]:
            rules.append(rule | {"verbs": granted})
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    yield ROLE | {"metadata": metadata, "rules": rules}
    yield {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }


def test_the_role_is_enough_for_a_simulation(
    cluster: Cluster, credentials: Credentials, start_mso: StartMso, peer: Peer
) -> None:
    """A service account with that Role and nothing else deploys, marks, reads logs and events, and removes."""
    variables = credentials()
    place = Place(cluster, variables["KUBERNETES_NAMESPACE"])
    mso = start_mso(place, **variables)
    peer.deploy("sim", order(configuration("a", "ends", CODE="3"), configuration("b", "waits"), version=2))
    place.wait_for_phase("b", "Running")
    peer.wait_for("sim", "ModelHasTerminated")
    peer.done("sim")
    heard = peer.wait_for_end("sim")
    assert {model: reason for model, (reason, _) in reasons(heard).items()} == {"a": "Error", "b": "Stopped"}
    assert told(heard)["a"].lastLogLines == ["going to end with 3"]
    mso.wait_for_event("model.removed", 2)
    assert "forbidden" not in mso.log()
    assert mso.stop() == 0  # and lets go of the lease, which those of the other tests here want


@pytest.mark.parametrize("withheld", (("update", "leases"), ("deletecollection", "pods")))
def test_a_right_that_is_missing_is_named_at_the_start(
    place: Place, credentials: Credentials, start_mso: StartMso, withheld: Right
) -> None:
    """Exit status 1, and the verb that the Role lacks, rather than a failure in the middle of a simulation."""
    mso = start_mso(place, wait=False, **credentials(withheld))
    assert mso.process
    assert mso.process.wait(PATIENCE_SECONDS) == 1
    (event,) = mso.events("service.cannot_start")
    assert f"we may not {' '.join(withheld)}: let the Role" in event["why"]


@pytest.mark.parametrize("withheld", RIGHTS, ids=" ".join)
async def test_each_right_is_asked_for_before_anything_is_begun(credentials: Credentials, withheld: Right) -> None:
    """Without it the lease or the backplane does not open, and names it and no other."""
    config = load({"SIMULATOR_NAME": "test-so"} | credentials(withheld))
    with pytest.raises(BackplaneError, match=rf"we may not {' '.join(withheld)}: let the Role"):
        async with build_lease(config), build_backplane(config):
            pass


@pytest.mark.parametrize(("level", "variables"), (("baseline", {}), ("restricted", {"MSO_POD_SECURITY": "restricted"})))
def test_pods_pass_the_level_of_pod_security_that_is_set(
    new_place: NewPlace, start_mso: StartMso, peer: Peer, level: str, variables: dict[str, str]
) -> None:
    """Baseline by default, restricted by one setting, for an image that does not run as root."""
    start_mso(new_place(**{ENFORCE: level}), **variables)
    peer.deploy("sim", order(configuration("a", "ends"), version=2))
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Completed", 0)}


def test_pods_that_the_namespace_does_not_allow_are_told_in_the_words_of_the_api(
    new_place: NewPlace, start_mso: StartMso, peer: Peer
) -> None:
    """Without the setting: DeployFailed at once, and what the pod would have to do without."""
    start_mso(new_place(**{ENFORCE: "restricted"}))
    peer.deploy("sim", order(configuration("a", "ends"), version=2))
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"a": ("DeployFailed", -1)}
    assert 'violates PodSecurity "restricted' in told(heard)["a"].message
    assert "runAsNonRoot" in told(heard)["a"].message
