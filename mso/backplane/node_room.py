"""How many pods more would find a node, from nodes and pods as the API writes them. Pure, and an estimate.

It goes by what the scheduler goes by first: requests against what a node has to give, taints, node selectors. Affinity,
volumes and priorities it does not look at, nor at what autoscaling would add.
https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_QUANTITY = re.compile(r"([+-]?[0-9]*\.?[0-9]+\.?)(?:[eE]([+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)")
_SUFFIXES = {
    "": 1.0,
    **{
        suffix: 10.0**power
        for suffix, power in zip(
            ("n", "u", "m", "k", "M", "G", "T", "P", "E"), (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True
        )
    },
    **{f"{suffix}i": 1024.0**power for power, suffix in enumerate("KMGTPE", 1)},
}
_KEEPS_OUT = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Room:
    """What is left."""

    nodes: int
    usable: int
    """Nodes that are ready, and take such a pod."""
    pods: int
    """How many more such pods find room."""
    cpu: float
    """Cores that nobody has asked for, on usable nodes."""
    memory: float
    """Bytes, the same."""
    why_not: tuple[str, ...]
    """Why nodes are not usable, each reason once."""


def quantity(text: object) -> float:
    """What Kubernetes means by `500m`, `2Gi` or `1e3`. Raises ValueError."""
    found = _QUANTITY.fullmatch(str(text))
    if not found:
        raise ValueError(f"{text!r} is no quantity")
    return float(found[1]) * 10.0 ** int(found[2] or 0) * _SUFFIXES[found[3] or ""]


def requests(pod: Json) -> dict[str, float]:
    """What a pod takes of its node: all containers at once, or the largest init container, and one place.

    https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
    """
    spec = pod["spec"]
    running: defaultdict[str, float] = defaultdict(float)
    for container in spec.get("containers") or ():
        _add(running, _asked(container))
    beside: defaultdict[str, float] = defaultdict(float)
    """Init containers that go on beside the others."""
    booting: dict[str, float] = {}
    for container in spec.get("initContainers") or ():
        asked = _asked(container)
        if container.get("restartPolicy") == "Always":
            _add(beside, asked)
            asked = beside
        else:
            asked = {name: amount + beside[name] for name, amount in asked.items()}
        booting = {name: max(booting.get(name, 0.0), asked.get(name, 0.0)) for name in booting.keys() | asked.keys()}
    _add(running, beside)
    taken = {name: max(running.get(name, 0.0), booting.get(name, 0.0)) for name in running.keys() | booting.keys()}
    for name, amount in (spec.get("overhead") or {}).items():
        taken[name] = taken.get(name, 0.0) + quantity(amount)
    return {**taken, "pods": 1.0}


def room_for(pod: Json, nodes: Sequence[Json], pods: Iterable[Json]) -> Room:
    """How many more pods like this one would find a node. `pods` are those that have not ended, of all namespaces."""
    taken: dict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for other in pods:
        if node := other["spec"].get("nodeName"):
            _add(taken[node], requests(other))
    wanted = requests(pod)
    usable = fitting = 0
    left: defaultdict[str, float] = defaultdict(float)
    why_not: dict[str, None] = {}
    for node in nodes:
        if why := _unusable(node, pod["spec"]):
            why_not[why] = None
            continue
        usable += 1
        gives = {name: quantity(amount) for name, amount in (node["status"].get("allocatable") or {}).items()}
        name = node["metadata"]["name"]
        free = {what: max(0.0, amount - taken[name][what]) for what, amount in gives.items()}
        _add(left, free)
        # A thousandth more: sums of tenths are a little less than they should be.
        fitting += min(math.floor(free.get(what, 0.0) / amount + 1e-3) for what, amount in wanted.items() if amount)
    return Room(len(nodes), usable, fitting, left["cpu"], left["memory"], tuple(why_not))


def _unusable(node: Json, spec: Json) -> str:
    """Why the scheduler would not even try this node."""
    conditions = {one["type"]: one["status"] for one in node["status"].get("conditions") or ()}
    if conditions.get("Ready") != "True":
        return "not ready"
    if node["spec"].get("unschedulable"):
        return "cordoned"
    tolerations = spec.get("tolerations") or ()
    for taint in node["spec"].get("taints") or ():
        if taint.get("effect") in _KEEPS_OUT and not any(_tolerates(one, taint) for one in tolerations):
            return f"taint {taint['key']}"
    labels = node["metadata"].get("labels") or {}
    for name, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(name) != value:
            return f"no label {name}={value}"
    return ""


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and (toleration.get("value") or "") == (taint.get("value") or "")


def _asked(container: Json) -> dict[str, float]:
    asked = (container.get("resources") or {}).get("requests") or {}
    return {name: quantity(amount) for name, amount in asked.items()}


def _add(to: defaultdict[str, float], amounts: Mapping[str, float]) -> None:
    for name, amount in amounts.items():
        to[name] += amount
