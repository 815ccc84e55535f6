"""The operator's pod template: what a cluster wants of every pod, and of those of one image. Read from a YAML file.

    template:                       # merged over the pod that MSO makes; `model` is the container of the model
      metadata: {labels: {team: energy}}
      spec:
        nodeSelector: {type: worker}
        containers:
          - name: model
            resources: {requests: {cpu: 100m}}
    images:                         # and this on top, for one image (its name is `imageUrl`, character for character)
      "heat-pump:2.1":
        spec: {tolerations: [{key: gpu, operator: Exists}]}

Merging is strategic, as `kubectl patch` has it: mappings are merged, lists whose items have a name are merged by that
name, other lists are replaced, null takes a field away.
https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
"""What tells the items of a list apart, by the name of the list (the `patchMergeKey` of the API)."""


_ANY_POD: dict[str, Any] = {"metadata": {}, "spec": {"containers": [{"name": "model", "image": "any"}]}}


class PodTemplateError(ValueError):
    """The template cannot be used: one line for everything that is wrong with it."""

    def __init__(self, path: Path, complaints: list[str]) -> None:
        super().__init__("\n".join(f"{path}: {complaint}" for complaint in complaints))


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """What is merged over every pod, and over those of an image."""

    template: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises PodTemplateError, which lists all that is wrong."""
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise PodTemplateError(path, [f"cannot be read: {error}"]) from error
        if not isinstance(document, dict):
            raise PodTemplateError(path, ["must be a mapping with `template`, `images`, or both"])
        complaints = [
            f"{key!r} is unknown: there are template and images" for key in document.keys() - {"template", "images"}
        ]
        template, images = document.get("template") or {}, document.get("images") or {}
        complaints += _complain(template, "template")
        if isinstance(images, dict):
            for image, override in images.items():
                complaints += _complain(override, f"images: {image!r}")
        else:
            complaints.append("images must map names of images to templates")
        if complaints:
            raise PodTemplateError(path, complaints)
        made = cls(template, images)
        for image in ("", *images):
            if complaint := _complain_of_pod(made.merged_over(_ANY_POD, image)):
                raise PodTemplateError(path, [f"images: {image!r}: {complaint}" if image else complaint])
        return made

    def merged_over(self, pod: dict[str, Any], image: str) -> dict[str, Any]:
        """The pod with the template merged over it, and over that what is said for the image."""
        for patch in (self.template, self.images.get(image, {})):
            pod = _merge(pod, patch)
        return pod


def _complain_of_pod(pod: dict[str, Any]) -> str:
    """Why no pod can be made of it; empty if one can. What the API thinks of the rest, only the API can say."""
    containers = pod["spec"].get("containers")
    named = [one for one in containers if one["name"] == "model"] if isinstance(containers, list) else []
    if not named:
        return "spec: containers must be a list, and have one that is named model"
    if not isinstance(named[0].get("env", []), list):
        return "spec: containers: env must be a list"
    for key in ("labels", "annotations"):
        if not isinstance(pod["metadata"].get(key, {}), dict):
            return f"metadata: {key} must be a mapping"
    return ""


def _complain(template: object, where: str) -> list[str]:
    if not isinstance(template, dict):
        return [f"{where} must be a mapping with metadata, spec, or both"]
    complaints = [
        f"{where}: {key!r} is unknown: there are metadata and spec" for key in template.keys() - {"metadata", "spec"}
    ]
    complaints += [
        f"{where}: {key} must be a mapping"
        for key in ("metadata", "spec")
        if not isinstance(template.get(key, {}), dict)
    ]
    return complaints + _complain_of_lists(template, where)


def _complain_of_lists(value: object, where: str, name: str = "") -> list[str]:
    """Items that nothing tells apart cannot be merged."""
    if isinstance(value, dict):
        return [line for key, inner in value.items() for line in _complain_of_lists(inner, f"{where}: {key}", key)]
    if not isinstance(value, list):
        return []
    by = _KEYS.get(name)
    complaints = [
        f"{where}: an item has no {by}" for item in value if by and not (isinstance(item, dict) and item.get(by))
    ]
    return complaints + [line for item in value for line in _complain_of_lists(item, where)]


def _merge(base: Any, patch: Any, name: str = "") -> Any:
    if isinstance(patch, dict):
        merged = dict(base) if isinstance(base, dict) else {}
        for key, value in patch.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = _merge(merged.get(key), value, key)
        return merged
    if isinstance(base, list) and isinstance(patch, list) and (by := _KEYS.get(name)):
        return _merge_by(by, base, patch)
    return deepcopy(patch)


def _merge_by(by: str, base: list[Any], patch: list[Any]) -> list[Any]:
    items = {item[by]: item for item in base}
    for item in patch:
        items[item[by]] = _merge(items.get(item[by]), item)
    return list(items.values())
