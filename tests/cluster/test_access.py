"""What MSO may do in a cluster, and what its pods may: as little as will do, and it says so where that is missing."""

import base64
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mso.backplane.kubernetes_permissions import VERBS
from tests.cluster.conftest import NewPlace, StartMso
from tests.cluster.place import Place
from tests.cluster.told import reasons, told
from tests.kubernetes_cluster import Cluster
from tests.peer import Peer, configuration, order

ENFORCE = "pod-security.kubernetes.io/enforce"
PATIENCE_SECONDS = 100

Credentials = Callable[..., dict[str, str]]


@pytest.fixture
def credentials(cluster: Cluster, place: Place, tmp_path: Path) -> Credentials:
    """Variables of a service account whose Role grants all that MSO needs, but for what is withheld."""

    def grant(withheld: tuple[str, str] | None = None) -> dict[str, str]:
        group = "rbac.authorization.k8s.io"
        metadata = {"name": "mso", "namespace": place.namespace}
        rules = []
        for api_group, resource, verbs in VERBS:
            if granted := [verb for verb in verbs if (verb, resource) != withheld]:
                rules.append({"apiGroups": [api_group], "resources": [resource], "verbs": granted})
        cluster.create(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "mso"},
                "subjects": [{"kind": "ServiceAccount", **metadata}],
            },
        )
        there = cluster.access()["clusters"][0]["cluster"]
        server = urlsplit(there["server"])
        authority = tmp_path / "ca.pem"
        authority.write_bytes(base64.b64decode(there["certificate-authority-data"]))
        return {
            "KUBECONFIG": "",
            "KUBERNETES_API_TOKEN": place.kubectl("create", "token", "mso").strip(),
            "KUBERNETES_HOST": server.hostname or "",
            "KUBERNETES_PORT": str(server.port or 443),
            "KUBERNETES_CA_FILE": str(authority),
        }

    return grant


def test_the_documented_role_is_enough_for_a_simulation(
    place: Place, credentials: Credentials, start_mso: StartMso, peer: Peer
) -> None:
    """A service account with that Role and nothing else deploys, marks, reads logs and events, and removes."""
    mso = start_mso(place, **credentials())
    peer.deploy("sim", order(configuration("a", "ends", CODE="3"), configuration("b", "waits"), version=2))
    place.wait_for_phase("b", "Running")
    peer.wait_for("sim", "ModelHasTerminated")
    peer.done("sim")
    heard = peer.wait_for_end("sim")
    assert {model: reason for model, (reason, _) in reasons(heard).items()} == {"a": "Error", "b": "Stopped"}
    assert told(heard)["a"].lastLogLines == ["going to end with 3"]
    mso.wait_for_event("model.removed", 2)
    assert "forbidden" not in mso.log()


@pytest.mark.parametrize(
    "withheld", (("deletecollection", "pods"), ("get", "pods/log"), ("list", "events"), ("update", "leases"))
)
def test_a_right_that_is_missing_is_named_at_the_start(
    place: Place, credentials: Credentials, start_mso: StartMso, withheld: tuple[str, str]
) -> None:
    """Exit status 1, and the verb that the Role lacks, rather than a failure in the middle of a simulation."""
    mso = start_mso(place, wait=False, **credentials(withheld))
    assert mso.process
    assert mso.process.wait(PATIENCE_SECONDS) == 1
    (event,) = mso.events("service.cannot_start")
    assert f"we may not {' '.join(withheld)}:" in event["why"]


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
