"""What befalls pods in a cluster: each model is told once, with the true reason, and nothing starts after that."""

from collections.abc import Iterator
from typing import Any

import pytest

from mso.protocol.messages.lifecycle_pb2 import ModelConfiguration, Resources
from tests.cluster.conftest import StartMso, ghost_node
from tests.cluster.gates import Gates
from tests.cluster.images import NO_IMAGE
from tests.cluster.place import Place
from tests.kubernetes_cluster import Cluster
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess
from tests.told import reasons, told


def container_status(state: dict[str, Any]) -> dict[str, Any]:
    """What a kubelet writes of the container of a model."""
    status = {"name": "model", "image": "paper:1", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return {"containerStatuses": [status]}


def with_resources(model: ModelConfiguration, resources: Resources) -> ModelConfiguration:
    model.resources.CopyFrom(resources)
    return model


UNPULLABLE = {"waiting": {"reason": "ErrImagePull", "message": "the registry of paper:1 is having a bad day"}}


def test_a_pod_that_is_deleted_by_hand_is_told_as_such(place: Place, gates: Gates, mso: MsoProcess, peer: Peer) -> None:
    """Deleted without grace while it ran: FAILED PodDeleted at once, with an exit code that is none; others go on."""
    peer.deploy("sim", order(configuration("a", "gated"), configuration("b", "gated"), version=2))
    gates.wait_for("a", "b")
    place.delete("a", force=True)
    peer.wait_for("sim", "ModelHasTerminated")
    gates.open(b=0)
    heard = peer.wait_for_end("sim")
    (reason, code), b = (reasons(heard)[model] for model in ("a", "b"))
    assert reason == "PodDeleted"
    assert code != 0
    assert b == ("Completed", 0)


def test_a_model_that_succeeded_stays_so_when_its_pod_is_deleted_by_hand(
    place: Place, gates: Gates, mso: MsoProcess, peer: Peer
) -> None:
    """Its end was seen: that the pod, kept for its logs, goes is no news."""
    peer.deploy("sim", order(configuration("a", "ends"), configuration("b", "gated"), version=2, keep_logs_hours=1))
    peer.wait_for("sim", "ModelHasTerminated")
    gates.wait_for("b")
    place.delete("a")
    place.wait_until_gone("a")
    gates.open(b=4)
    assert reasons(peer.wait_for_end("sim")) == {"a": ("Completed", 0), "b": ("Error", 4)}


def test_an_evicted_pod_is_told_with_the_words_of_the_cluster(place: Place, mso: MsoProcess, peer: Peer) -> None:
    """A pod that was driven from its node has no container statuses at all."""
    peer.deploy("sim", order(configuration("a", "paper"), version=2))
    mso.wait_for_event("model.deployed")
    words = "The node was low on resource: memory."
    place.patch_status("a", {"phase": "Failed", "reason": "Evicted", "message": words})
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"a": ("Evicted", -1)}
    assert words in told(heard)["a"].message


def test_an_image_that_cannot_be_pulled_is_told_after_the_grace(place: Place, start_mso: StartMso, peer: Peer) -> None:
    """FAILED ImagePullFailed, the image named; the pod is gone, so that it cannot start later."""
    start_mso(place, MSO_IMAGE_PULL_GRACE_SECONDS="2")
    peer.deploy("sim", order(configuration("a", NO_IMAGE), version=2, keep_logs_hours=1))
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"a": ("ImagePullFailed", -1)}
    assert NO_IMAGE in told(heard)["a"].message
    place.wait_until_gone("a")


def test_an_image_that_is_pulled_within_the_grace_fails_nobody(place: Place, start_mso: StartMso, peer: Peer) -> None:
    """A registry may ail for a moment: only who cannot be pulled for longer has failed."""
    mso = start_mso(place, MSO_IMAGE_PULL_GRACE_SECONDS="3")
    peer.deploy("sim", order(configuration("mended", "paper"), configuration("broken", "paper"), version=2))
    mso.wait_for_event("model.deployed", 2)
    place.patch_status("mended", container_status(UNPULLABLE))
    place.patch_status("mended", {"phase": "Running"} | container_status({"running": {}}))
    place.patch_status("broken", container_status(UNPULLABLE))
    heard = peer.wait_for("sim", "ModelHasTerminated")  # by now the grace of the other one is over, too
    assert [message.model for message in heard] == ["broken"]
    place.patch_status("mended", {"phase": "Succeeded"} | container_status({"terminated": {"exitCode": 0}}))
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"broken": ("ImagePullFailed", -1), "mended": ("Completed", 0)}
    assert UNPULLABLE["waiting"]["message"] in told(heard)["broken"].message


def test_a_model_that_no_node_takes_is_told_in_the_words_of_the_scheduler(
    place: Place, start_mso: StartMso, peer: Peer
) -> None:
    """FAILED Unschedulable after the time to wait for a node; the pod is gone, so that it cannot start later."""
    start_mso(place, MSO_PENDING_TIMEOUT_SECONDS="2")
    greedy = with_resources(configuration("a", "waits"), Resources(cpuRequest="1000"))
    peer.deploy("sim", order(greedy, version=2, keep_logs_hours=1))
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"a": ("Unschedulable", -1)}
    assert "Insufficient cpu" in told(heard)["a"].message
    place.wait_until_gone("a")


def test_a_model_that_takes_more_memory_than_its_limit_is_told_as_such(mso: MsoProcess, peer: Peer) -> None:
    """OOMKilled, 137, and the same in the log."""
    hog = with_resources(configuration("a", "hog"), Resources(memoryLimit="48Mi"))
    peer.deploy("sim", order(hog, version=2))
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"a": ("OOMKilled", 137)}
    (event,) = mso.wait_for_event("model.failed")
    assert (event["reason"], event["exit_code"], event["model"]) == ("OOMKilled", 137, "a")


def test_the_container_of_the_model_decides_whatever_stands_beside_it(
    place: Place, mso: MsoProcess, peer: Peer
) -> None:
    """An init container that fails is the end of a model that never began; a sidecar that runs on is not its life."""
    peer.deploy(
        "sim",
        order(
            configuration("a", "fails-to-prepare"),
            configuration("b", "has-sidecar", CODE="5"),
            configuration("c", "has-sidecar"),
            version=2,
            keep_logs_hours=1,
        ),
    )
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"a": ("Error", 9), "b": ("Error", 5), "c": ("Completed", 0)}
    assert "prepare" in told(heard)["a"].message
    assert place.living() == {"b", "c"}


@pytest.fixture
def ghost(cluster: Cluster, place: Place) -> Iterator[str]:
    """A node without a kubelet; its pods are deleted with it, by force, for nobody else would."""
    name = ghost_node(place)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"unschedulable": True}}
    cluster.create(node)
    yield name
    cluster.kubectl("delete", "node", name, "--wait=false")
    place.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")


def test_a_model_on_a_node_that_is_silent_is_told_as_lost(
    place: Place, ghost: str, start_mso: StartMso, peer: Peer
) -> None:
    """Its pod was deleted, and nobody is there to end it: NodeLost after the limit, though the object remains."""
    mso = start_mso(place, MSO_NODE_LOST_SECONDS="2")
    peer.deploy("sim", order(configuration("a", "ghost"), version=2, keep_logs_hours=1))
    mso.wait_for_event("model.deployed")
    place.delete("a")
    heard = peer.wait_for_end("sim")
    assert reasons(heard) == {"a": ("NodeLost", -1)}
    assert ghost in told(heard)["a"].message
    assert place.living() == {"a"}
