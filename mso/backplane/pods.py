"""A model as a pod: its names, its labels, its manifest; and back, from what is written on a pod to the model. Pure.

- The name follows from the attempt alone, so a create that comes twice or too late can only meet its own pod.
- What selects pods is a label of ours with a fingerprint in it. The labels that people filter by are for people: two
  ids can look the same there.
- What is needed to adopt the pod is in its annotations.
- A pod is safe by default: it passes Pod Security *baseline*, and *restricted* by one setting.
  https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any

from mso import recollection
from mso.backplane import Mark
from mso.backplane.identity import (
    MANAGED_BY,
    PART_OF,
    RUN_ID,
    attempt_in,
    attempt_name,
    particulars,
    recollection_in,
    run_id,
)
from mso.backplane.names import fingerprint, slug
from mso.backplane.pod_template import PodTemplate
from mso.model import Attempt, EnvironmentVariable, Model, Resources, RunKey

Pod = dict[str, Any]
"""A pod as the API writes it. Its model classes cost milliseconds each, so nobody here uses them (fault K6)."""

CONTAINER = "model"
OURS = f"{MANAGED_BY}=mso"
"""Selects every pod of ours, and no other."""

_MARK_PREFIX = "mso/mark-"
_MARKS = {f"{_MARK_PREFIX}{mark}": mark for mark in Mark}
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """What an operator sets about pods. Whatever is not here, the template can say."""

    restricted: bool = False
    """Pass Pod Security *restricted*: then an image that runs as root does not start."""
    pull_secret: str = ""
    pull_policy: str = ""
    """Empty leaves it to Kubernetes: Always for `latest`, else IfNotPresent."""
    template: PodTemplate = field(default_factory=PodTemplate)


def pod_name(attempt: Attempt) -> str:
    """Legal and unique for any ids."""
    return attempt_name(attempt)


def run_selector(run: RunKey) -> str:
    """Selects the pods of one run, and no other."""
    return f"{OURS},{RUN_ID}={run_id(run)}"


def pod_manifest(model: Model, settings: PodSettings) -> Pod:
    """What is to be created for the model's current attempt."""
    spec = model.spec
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": spec.image,
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {RUN_ID: run_id(model.key.run_key)}},
            }
        ],
    }
    if settings.restricted:
        container["securityContext"]["capabilities"] = {"drop": ["ALL"]}
        pod["securityContext"]["runAsNonRoot"] = True
    if settings.pull_policy:
        container["imagePullPolicy"] = settings.pull_policy
    if settings.pull_secret:
        pod["imagePullSecrets"] = [{"name": settings.pull_secret}]
    if spec.command:
        container["command"] = [_literal(word) for word in spec.command]
    if spec.args:
        container["args"] = [_literal(word) for word in spec.args]
    if spec.resources and (resources := _resources(spec.resources)):
        container["resources"] = resources
    if spec.max_runtime:
        # Kubernetes ends it even while nobody here looks.
        pod["activeDeadlineSeconds"] = max(1, math.ceil(spec.max_runtime.total_seconds()))
    manifest = settings.template.merged_over({"metadata": {}, "spec": pod}, spec.image)
    _write_environment(manifest, spec.environment)
    _write_metadata(manifest["metadata"], model)
    return {"apiVersion": "v1", "kind": "Pod", **manifest}


def _write_environment(manifest: Pod, environment: tuple[EnvironmentVariable, ...]) -> None:
    """Exactly the message's, and below it what the operator's template adds."""
    container = next(one for one in manifest["spec"]["containers"] if one.get("name") == CONTAINER)
    asked_for = {one.name: _variable(one) for one in environment}
    extras = [one for one in container.get("env", ()) if one.get("name") not in asked_for]
    if asked_for or extras:
        container["env"] = [*asked_for.values(), *extras]


def _write_metadata(metadata: dict[str, Any], model: Model) -> None:
    key, request = model.key, model.request
    metadata["name"] = pod_name(model.current)
    metadata["labels"] = (metadata.get("labels") or {}) | {
        MANAGED_BY: "mso",
        PART_OF: label_value(request.simulator),
        "simulator_id": label_value(request.simulator_id or request.simulator),
        "simulation_id": label_value(key.simulation),
        "model_id": label_value(key.model),
        "run": str(key.run),
        RUN_ID: run_id(key.run_key),
    }
    metadata["annotations"] = (metadata.get("annotations") or {}) | particulars(model)


def attempt_of(pod: Pod) -> Attempt | None:
    """Whose pod it is; None if it carries our label and yet was not made here."""
    attempt = attempt_in(pod["metadata"].get("annotations") or {})
    # The name is what only one can have.
    return attempt if attempt and pod["metadata"]["name"] == pod_name(attempt) else None


def recollection_of(pod: Pod) -> str:
    """The model as text (mso.recollection); empty if somebody took it off."""
    return recollection_in(pod["metadata"].get("annotations") or {})


def is_of_same_order(pod: Pod, model: Model) -> bool:
    """Whether the pod was created for this very model: same request, same attempt, asked for at the same instant."""
    return recollection_of(pod) == recollection.encode(model)


def marks_of(pod: Pod) -> frozenset[Mark]:
    annotations = pod["metadata"].get("annotations") or {}
    return frozenset(mark for name, mark in _MARKS.items() if name in annotations)


def marking(mark: Mark) -> Pod:
    """The patch that writes a mark on a pod."""
    return {"metadata": {"annotations": {f"{_MARK_PREFIX}{mark}": "true"}}}


def label_value(text: str) -> str:
    """The text itself where it is a legal label value, else something like it that no other text becomes."""
    if _LABEL.fullmatch(text):
        return text
    return "-".join(part for part in (slug(text, 40), fingerprint(text)) if part)


def _literal(text: str) -> str:
    """Kubernetes expands $(NAME) in values, commands and arguments; `$$` is how it writes a `$` to be left alone."""
    return text.replace("$", "$$")


def _variable(variable: EnvironmentVariable) -> dict[str, Any]:
    if variable.secret_name:
        reference = {"name": variable.secret_name, "key": variable.secret_key}
        return {"name": variable.name, "valueFrom": {"secretKeyRef": reference}}
    return {"name": variable.name, "value": _literal(variable.value)}


def _resources(resources: Resources) -> dict[str, dict[str, str]]:
    wanted = {
        "requests": {"cpu": resources.cpu_request, "memory": resources.memory_request},
        "limits": {
            "cpu": resources.cpu_limit,
            "memory": resources.memory_limit,
            _GPU: str(resources.gpus) if resources.gpus else "",
        },
    }
    said = {kind: {name: value for name, value in amounts.items() if value} for kind, amounts in wanted.items()}
    return {kind: amounts for kind, amounts in said.items() if amounts}
