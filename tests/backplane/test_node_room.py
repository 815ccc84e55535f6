"""How many pods more would find a node."""

from typing import Any

import pytest

from mso.backplane.node_room import Room, quantity, requests, room_for

GIB = 1024.0**3


def container(cpu: str = "", memory: str = "", **fields: Any) -> dict[str, Any]:
    asked = {name: amount for name, amount in (("cpu", cpu), ("memory", memory)) if amount}
    return {"resources": {"requests": asked}, **fields}


def pod(*containers: dict[str, Any], node: str = "", **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **({"nodeName": node} if node else {}), **spec}}


def node(name: str = "n", cpu: str = "4", memory: str = "8Gi", pods: str = "110", **fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": fields.get("labels", {})},
        "spec": fields.get("spec", {}),
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, "pods": pods},
            "conditions": [{"type": "Ready", "status": fields.get("ready", "True")}],
        },
    }


@pytest.mark.parametrize(
    ("text", "amount"),
    (
        ("0", 0),
        ("1.5", 1.5),
        ("500m", 0.5),
        ("250u", 0.00025),
        ("100n", 1e-7),
        ("2k", 2000),
        ("3M", 3e6),
        ("1G", 1e9),
        ("4Ki", 4096),
        ("2Gi", 2 * GIB),
        ("1Ei", 1024.0**6),
        ("1E", 1e18),
        ("1e3", 1000),
        ("12E2", 1200),
        (7, 7),
    ),
)
def test_a_quantity_is_what_kubernetes_means_by_it(text: object, amount: float) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/"""
    assert quantity(text) == pytest.approx(amount)


@pytest.mark.parametrize("text", ("", "1x", "Gi", "1 Gi", "1ki"))
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """It is not taken for nothing."""
    with pytest.raises(ValueError, match="no quantity"):
        quantity(text)


@pytest.mark.parametrize(
    ("one", "cpu"),
    (
        (pod(container()), 0),
        (pod(container("1"), container("500m")), 1.5),
        (pod(container("1"), initContainers=[container("3"), container("2")]), 3),
        (pod(container("1"), initContainers=[container("1", restartPolicy="Always")]), 2),
        (pod(container("1"), initContainers=[container("1", restartPolicy="Always"), container("3")]), 4),
        (pod(container("1"), initContainers=[container("3"), container("1", restartPolicy="Always")]), 3),
        (pod(container("1"), overhead={"cpu": "250m"}), 1.25),
    ),
)
def test_a_pod_takes_what_it_needs_at_its_worst_moment(one: dict[str, Any], cpu: float) -> None:
    """Init containers run one after the other, but those that go on beside the rest."""
    taken = requests(one)
    assert taken.get("cpu", 0) == pytest.approx(cpu)
    assert taken["pods"] == 1


@pytest.mark.parametrize(
    ("like", "others", "fit"),
    (
        (pod(container("1")), [], 4),
        (pod(container("1", "3Gi")), [], 2),
        (pod(container()), [], 110),
        (pod(container("1")), [pod(container("2500m"), node="n")], 1),
        (pod(container("1")), [pod(container("2500m"), node="elsewhere")], 4),
        (pod(container("1")), [pod(container("2500m"))], 4),
        (pod(container("100m")), [pod(container("100m"), node="n")] * 30, 10),
        (pod(container("5")), [], 0),
        (pod({"resources": {"requests": {"nvidia.com/gpu": "1"}}}), [], 0),
    ),
)
def test_what_fits_is_what_the_scarcest_has_left(like: dict[str, Any], others: list[dict[str, Any]], fit: int) -> None:
    """Cores, memory, places, or whatever else a pod asks for."""
    assert room_for(like, [node()], others).pods == fit


@pytest.mark.parametrize(
    ("fields", "spec", "why"),
    (
        ({"ready": "Unknown"}, {}, "not ready"),
        ({"spec": {"unschedulable": True}}, {}, "cordoned"),
        ({"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}, {}, "taint gpu"),
        ({"spec": {"taints": [{"key": "gpu", "effect": "NoExecute"}]}}, {"tolerations": [{"key": "cpu"}]}, "taint gpu"),
        ({}, {"nodeSelector": {"type": "worker"}}, "no label type=worker"),
    ),
)
def test_a_node_that_does_not_take_such_a_pod_is_left_out(
    fields: dict[str, Any], spec: dict[str, Any], why: str
) -> None:
    """And why is told."""
    room = room_for(pod(container("1"), **spec), [node(**fields), node("other", labels={"type": "worker"})], [])
    assert (room.nodes, room.usable, room.why_not) == (2, 1, (why,))


@pytest.mark.parametrize(
    "toleration",
    (
        {"operator": "Exists"},
        {"key": "gpu", "operator": "Exists"},
        {"key": "gpu", "value": "yes"},
        {"key": "gpu", "value": "yes", "effect": "NoSchedule"},
    ),
)
def test_a_taint_that_is_tolerated_keeps_nobody_out(toleration: dict[str, str]) -> None:
    """However the toleration is written; a taint that only prefers others does not either."""
    taints = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}, {"key": "old", "effect": "PreferNoSchedule"}]
    assert room_for(pod(tolerations=[toleration]), [node(spec={"taints": taints})], []).usable == 1


def test_what_is_left_of_all_nodes_is_told() -> None:
    """Requests of pods on them taken off."""
    room = room_for(pod(container("1")), [node("a"), node("b", cpu="2")], [pod(container("1", "1Gi"), node="a")])
    assert room == Room(2, 2, 5, 5.0, 15 * GIB, ())


def test_without_a_node_there_is_no_room() -> None:
    """A cluster that scales down to nothing."""
    assert room_for(pod(container()), [], []) == Room(0, 0, 0, 0.0, 0.0, ())
