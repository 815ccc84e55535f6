"""The operator's pod template: how it is merged, and what is said of one that cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mso.backplane.pod_template import PodTemplate, PodTemplateError
from mso.backplane.pods import PodSettings, pod_manifest
from tests.builders import model

MODEL = {"name": "model", "image": "image:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
SPREAD = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
POD: dict[str, Any] = {
    "metadata": {},
    "spec": {
        "restartPolicy": "Never",
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [MODEL],
        "topologySpreadConstraints": [SPREAD],
    },
}


def merged(template: dict[str, Any], special: dict[str, Any] | None = None, image: str = "image:1") -> Any:
    """The spec of POD with the template over it, and over that what is said of image:1."""
    images = {"image:1": {"spec": special}} if special is not None else {}
    return PodTemplate({"spec": template}, images).merged_over(POD, image)["spec"]


def spec_with(**fields: Any) -> Any:
    return POD["spec"] | fields


MERGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, POD["spec"]),
    "a field is added": ({"priorityClassName": "high"}, spec_with(priorityClassName="high")),
    "a field is replaced": ({"restartPolicy": "Always"}, spec_with(restartPolicy="Always")),
    "mappings are merged": (
        {"securityContext": {"runAsUser": 1000}},
        spec_with(securityContext={"seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 1000}),
    ),
    "however deep": (
        {"securityContext": {"seccompProfile": {"localhostProfile": "p"}}},
        spec_with(securityContext={"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "p"}}),
    ),
    "null takes away": (
        {"securityContext": None, "topologySpreadConstraints": None},
        {"restartPolicy": "Never", "containers": [MODEL]},
    ),
    "null takes away deep within": (
        {"securityContext": {"seccompProfile": {"type": None}}},
        spec_with(securityContext={"seccompProfile": {}}),
    ),
    "null of what is not there": ({"hostNetwork": None}, POD["spec"]),
    "null within what is not there": ({"affinity": {"nodeAffinity": None}}, spec_with(affinity={})),
    "items with a name are merged by it": (
        {"containers": [{"name": "model", "imagePullPolicy": "Never"}]},
        spec_with(containers=[MODEL | {"imagePullPolicy": "Never"}]),
    ),
    "items of items": (
        {"containers": [{"name": "model", "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}]},
        spec_with(
            containers=[
                MODEL | {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}
            ]
        ),
    ),
    "other containers come after the model": (
        {"containers": [{"name": "proxy", "image": "proxy:1"}]},
        spec_with(containers=[MODEL, {"name": "proxy", "image": "proxy:1"}]),
    ),
    "null within an item takes away": (
        {"containers": [{"name": "model", "env": None}]},
        spec_with(containers=[{"name": "model", "image": "image:1"}]),
    ),
    "null within a quantity that is not there": (
        {"containers": [{"name": "model", "resources": {"limits": {"cpu": None}}}]},
        spec_with(containers=[MODEL | {"resources": {"limits": {}}}]),
    ),
    "constraints are told apart by their topology": (
        {"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 2}]},
        spec_with(topologySpreadConstraints=[SPREAD, {"topologyKey": "zone", "maxSkew": 2}]),
    ),
    "and one of the same topology is changed": (
        {
            "topologySpreadConstraints": [
                {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
            ]
        },
        spec_with(topologySpreadConstraints=[SPREAD | {"whenUnsatisfiable": "DoNotSchedule"}]),
    ),
    "a list whose items have no name is what it is": (
        {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
        spec_with(tolerations=[{"key": "gpu", "operator": "Exists"}]),
    ),
    "an empty list of named items changes nothing": ({"containers": []}, POD["spec"]),
}


@pytest.mark.parametrize(("patch", "expected"), MERGES.values(), ids=MERGES.keys())
def test_a_template_is_merged_as_kubectl_merges_a_patch(patch: dict[str, Any], expected: dict[str, Any]) -> None:
    """Mappings and named items are merged, all else is replaced, null takes away."""
    before = json.dumps([POD, patch])
    assert merged(patch) == expected
    assert json.dumps([POD, patch]) == before


def test_what_is_said_of_an_image_comes_on_top() -> None:
    """It adds to the template, changes it, and takes from it."""
    general = {
        "nodeSelector": {"type": "worker", "disk": "ssd"},
        "tolerations": [{"key": "a"}, {"key": "b"}],
        "priorityClassName": "low",
        "containers": [{"name": "model", "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}}],
    }
    special = {
        "nodeSelector": {"type": "gpu", "disk": None},
        "tolerations": [{"key": "c"}],
        "priorityClassName": None,
        "containers": [{"name": "model", "resources": {"requests": {"cpu": "2"}}}],
    }
    assert merged(general, special) == spec_with(
        nodeSelector={"type": "gpu"},
        tolerations=[{"key": "c"}],
        containers=[MODEL | {"resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}],
    )


@pytest.mark.parametrize("image", ("image:2", "image", "IMAGE:1", "docker.io/image:1", ""))
def test_another_image_is_left_alone(image: str) -> None:
    """The name is that of the message, character for character."""
    assert merged({}, {"priorityClassName": "high"}, image=image) == POD["spec"]


def test_what_was_merged_can_be_changed_alone() -> None:
    """No pod holds a piece of the template, nor of another pod."""
    template = PodTemplate({"spec": {"nodeSelector": {"type": "worker"}, "containers": [{"name": "x", "env": []}]}})
    first, second = (template.merged_over(POD, "image:1")["spec"] for _ in range(2))
    first["nodeSelector"]["type"] = "mine"
    first["containers"][1]["env"].append("mine")
    assert "mine" not in json.dumps(second)


# -- the file ---------------------------------------------------------------------------------------------------------


def load(tmp_path: Path, document: object) -> PodTemplate:
    path = tmp_path / "template.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return PodTemplate.load(path)


def complaints(tmp_path: Path, document: object) -> list[str]:
    """What is said of it, without the name of the file."""
    with pytest.raises(PodTemplateError) as wrong:
        load(tmp_path, document)
    return [line.removeprefix(f"{tmp_path / 'template.yaml'}: ") for line in str(wrong.value).splitlines()]


def test_the_template_of_the_documentation_is_read(tmp_path: Path) -> None:
    """The example at the top of the module does what it says."""
    from mso.backplane import pod_template

    assert pod_template.__doc__
    example = pod_template.__doc__.split("\n\n")[1]
    template = load(tmp_path, example)
    made = pod_manifest(model(), PodSettings(template=template))
    assert made["metadata"]["labels"]["team"] == "energy"
    assert made["spec"]["nodeSelector"] == {"type": "worker"}
    assert made["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "100m"}}
    assert "tolerations" not in made["spec"]
    assert template.merged_over(POD, "heat-pump:2.1")["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists"}]


@pytest.mark.parametrize("document", ({}, {"template": None}, {"images": None}, {"template": {}, "images": {}}))
def test_a_template_may_say_nothing(tmp_path: Path, document: object) -> None:
    """What is left empty changes no pod."""
    assert load(tmp_path, document).merged_over(POD, "image:1") == POD


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Whoever mends a template mends it once: each line says where."""
    found = complaints(
        tmp_path,
        {
            "tempalte": {},
            "template": {
                "kind": "Pod",
                "metadata": [],
                "spec": {
                    "containers": [{"image": "no-name"}, {"name": "model", "env": [{"value": "1"}], "ports": ["80"]}],
                    "volumes": [{"name": ""}],
                },
            },
            "images": {"a": "text", "b": {"spec": "text"}, "c": {"spec": {"imagePullSecrets": ["secret"]}}},
        },
    )
    assert sorted(found) == sorted(
        [
            "'tempalte' is unknown: there are template and images",
            "template: 'kind' is unknown: there are metadata and spec",
            "template: metadata must be a mapping",
            "template: spec: containers: an item has no name",
            "template: spec: containers: env: an item has no name",
            "template: spec: containers: ports: an item has no containerPort",
            "template: spec: volumes: an item has no name",
            "images: 'a' must be a mapping with metadata, spec, or both",
            "images: 'b': spec must be a mapping",
            "images: 'c': spec: imagePullSecrets: an item has no name",
        ]
    )


@pytest.mark.parametrize(
    ("document", "complaint"),
    (
        ("", "must be a mapping with `template`, `images`, or both"),
        ("[]", "must be a mapping with `template`, `images`, or both"),
        ("text", "must be a mapping with `template`, `images`, or both"),
        ({"template": "spec"}, "template must be a mapping with metadata, spec, or both"),
        ({"template": {"spec": None}}, "template: spec must be a mapping"),
        ({"images": ["heat-pump:2.1"]}, "images must map names of images to templates"),
        ({"images": {"heat-pump:2.1": None}}, "images: 'heat-pump:2.1' must be a mapping with metadata, spec, or both"),
        ({"template": {"spec": {"containers": [None]}}}, "template: spec: containers: an item has no name"),
        ("template: {spec: {containers: [{name: model}]}", "cannot be read"),
        ("\0", "cannot be read"),
        ("a: !!python/object/apply:os.getcwd []", "cannot be read"),
    ),
)
def test_a_template_that_cannot_be_used_is_refused(tmp_path: Path, document: object, complaint: str) -> None:
    """It says where, and what should be there instead."""
    assert complaint in "\n".join(complaints(tmp_path, document))


UNUSABLE: dict[str, dict[str, Any]] = {
    "containers taken away": {"spec": {"containers": None}},
    "containers that are a mapping": {"spec": {"containers": {"model": {"image": "x"}}}},
    "containers that are a text": {"spec": {"containers": "model"}},
    "variables that are a mapping": {"spec": {"containers": [{"name": "model", "env": {"A": "1"}}]}},
    "labels that are a list": {"metadata": {"labels": ["team=energy"]}},
    "annotations that are a text": {"metadata": {"annotations": "cost=none"}},
}


@pytest.mark.parametrize("template", UNUSABLE.values(), ids=UNUSABLE.keys())
@pytest.mark.parametrize("where", ("template", "images"))
def test_a_template_that_no_pod_can_be_made_with_is_refused(
    tmp_path: Path, where: str, template: dict[str, Any]
) -> None:
    """That is told at the start, and not by the first model that is asked for."""
    assert complaints(tmp_path, {where: template if where == "template" else {"image:1": template}})


@pytest.mark.parametrize("content", (b"\xff\xfe", None))
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, content: bytes | None) -> None:
    """Something that is no text, or is not there, is an error in words and no traceback."""
    path = tmp_path / "template.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PodTemplateError, match="cannot be read"):
        PodTemplate.load(path)
