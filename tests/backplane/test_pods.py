"""A model as a pod: the whole manifest, its environment, and whose pod it is."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mso import recollection
from mso.backplane.pod_template import PodTemplate
from mso.backplane.pods import Pod, PodSettings, attempt_of, label_value, pod_manifest
from mso.model import EnvironmentVariable, Model, Resources
from tests.builders import attempt, model, request, spec

PLAIN = PodSettings()
RUN_ID = "6bbea63d1db641267fc6cbd8bbc20fd11739276b"
"""Of run 1 of sim-1."""


def the_pod(of: Model | None = None, settings: PodSettings = PLAIN) -> Any:
    """The pod that is asked for; Any, for it is looked into."""
    return pod_manifest(of or model(), settings)


def container(pod: Any) -> Any:
    (one,) = pod["spec"]["containers"]
    return one


def expected(of: Model, *, metadata: Mapping[str, Any], container: Mapping[str, Any], spec: Mapping[str, Any]) -> Pod:
    """What every pod has, and what this one has beside it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **metadata,
            "annotations": {
                "mso/simulator": of.request.simulator,
                "mso/simulation": of.key.simulation,
                "mso/run": str(of.key.run),
                "mso/model-id": of.key.model,
                "mso/attempt": str(of.attempt),
                "mso/model": recollection.encode(of),
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"mso/run-id": metadata["labels"]["mso/run-id"]}},
                }
            ],
            "containers": [
                {
                    "name": "model",
                    "image": "image:1",
                    "securityContext": {"allowPrivilegeEscalation": False},
                    **container,
                }
            ],
            **spec,
        },
    }


METADATA = {
    "name": "m-0-sim-1-1-1-e62a84b9d28833ef",
    "labels": {
        "app.kubernetes.io/managed-by": "mso",
        "app.kubernetes.io/part-of": "essim",
        "simulator_id": "essim",
        "simulation_id": "sim-1",
        "model_id": "m-0",
        "run": "1",
        "mso/run-id": RUN_ID,
    },
}
"""The same in every release: a later one has to find the pods of an earlier one."""
ENVIRONMENT = [{"name": "MODEL_ID", "value": "m-0"}]


def test_the_pod_of_a_model_of_version_1() -> None:
    """An image, its environment, and what makes a pod safe; nothing else is asked of the cluster."""
    assert the_pod() == expected(model(), metadata=METADATA, container={"env": ENVIRONMENT}, spec={})


def test_the_pod_of_a_restricted_namespace() -> None:
    """One setting passes Pod Security restricted (fault B3)."""
    container = {
        "env": ENVIRONMENT,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True}
    assert the_pod(settings=PodSettings(restricted=True)) == expected(
        model(), metadata=METADATA, container=container, spec={"securityContext": security}
    )


def test_the_pod_of_a_private_image() -> None:
    """The secret to pull it with and when to pull it are an operator's to say."""
    assert the_pod(settings=PodSettings(pull_secret="registry", pull_policy="Never")) == expected(
        model(),
        metadata=METADATA,
        container={"env": ENVIRONMENT, "imagePullPolicy": "Never"},
        spec={"imagePullSecrets": [{"name": "registry"}]},
    )


def test_the_pod_of_a_model_with_all_that_version_2_can_ask_for() -> None:
    """Every field is where Kubernetes looks for it."""
    wanted = model(
        "Heat Pump",
        run=2,
        simulation="Sim_1 é",
        attempt=3,
        spec=spec(
            "Heat Pump",
            environment=(
                EnvironmentVariable("MODEL_ID", "Heat Pump"),
                EnvironmentVariable("PASSWORD", "", "influx", "password"),
            ),
            resources=Resources("500m", "1Gi", "2", "2Gi", 1),
            max_runtime=timedelta(seconds=90.5),
            ready_timeout=timedelta(seconds=10),
            retries=3,
            command=("python3", "-c"),
            args=("--home=$HOME", ""),
            type="heat-pump",
            version="2.1",
        ),
        request=request("Sim_1 é", protocol_version=2, simulator_id="DOTS-so", keep_logs=timedelta(hours=1)),
    )
    made = the_pod(wanted)
    assert made["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "mso",
        "app.kubernetes.io/part-of": "essim",
        "simulator_id": "DOTS-so",
        "simulation_id": label_value("Sim_1 é"),
        "model_id": label_value("Heat Pump"),
        "run": "2",
        "mso/run-id": "2331a4b622035497857a8992b73b1f7f09ad795f",
    }
    metadata = {"name": "heat-pump-sim-1-2-3-1f283e4a2cf253dd", "labels": made["metadata"]["labels"]}
    assert made == expected(
        wanted,
        metadata=metadata,
        container={
            "env": [
                {"name": "MODEL_ID", "value": "Heat Pump"},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "influx", "key": "password"}}},
            ],
            "resources": {
                "requests": {"cpu": "500m", "memory": "1Gi"},
                "limits": {"cpu": "2", "memory": "2Gi", "nvidia.com/gpu": "1"},
            },
            "command": ["python3", "-c"],
            "args": ["--home=$$HOME", ""],
        },
        spec={"activeDeadlineSeconds": 91},
    )


@pytest.mark.parametrize(
    ("resources", "asked_for"),
    (
        (Resources(), None),
        (Resources(cpu_request="1"), {"requests": {"cpu": "1"}}),
        (Resources(memory_limit="1Gi"), {"limits": {"memory": "1Gi"}}),
        (Resources(gpus=2), {"limits": {"nvidia.com/gpu": "2"}}),
    ),
)
def test_resources_that_are_not_said_are_not_asked_for(resources: Resources, asked_for: object) -> None:
    """An empty quantity is none, and not one that the API refuses."""
    assert container(the_pod(model(spec=spec(resources=resources)))).get("resources") == asked_for


@pytest.mark.parametrize(("seconds", "deadline"), ((1e-6, 1), (0.4, 1), (1.0, 1), (1.2, 2), (86_400.0, 86_400)))
def test_a_limit_of_the_runtime_is_whole_seconds(seconds: float, deadline: int) -> None:
    """Kubernetes takes no fractions, and no zero: it is never cut short."""
    pod = the_pod(model(spec=spec(max_runtime=timedelta(seconds=seconds))))
    assert pod["spec"]["activeDeadlineSeconds"] == deadline


def test_the_manifest_is_json() -> None:
    """What is sent to the API is what was made, ids in any script included."""
    made = the_pod(model("模型🔥", simulation="é"))
    assert json.loads(json.dumps(made)) == made


# -- environment ------------------------------------------------------------------------------------------------------


def expand(text: str, variables: Mapping[str, str]) -> str:
    """As Kubernetes expands values, commands and arguments (k8s.io/kubernetes/third_party/forked/golang/expansion)."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


@given(st.text("$()X{}\\ é", max_size=20))
def test_a_reference_stays_literal(text: str) -> None:
    """Whatever the cluster expands, the model finds what the message said (fault D7)."""
    environment = (EnvironmentVariable("X", "expanded"), EnvironmentVariable("TEXT", text))
    wanted = model(spec=spec(environment=environment, command=(text or "x",), args=(text,)))
    made = container(the_pod(wanted))
    for sent in (made["env"][1]["value"], made["args"][0]):
        assert expand(sent, {"X": "expanded"}) == text
    assert expand(made["command"][0], {"X": "expanded"}) == (text or "x")


def test_the_oracle_expands() -> None:
    """The test above would see a reference that is not left alone."""
    assert expand("$(X) $$(X) $(Y) $X", {"X": "1"}) == "1 $(X) $(Y) $X"


def test_of_two_variables_of_one_name_the_last_wins() -> None:
    """Each name is there once: whoever took the order has warned of it."""
    pairs = (("A", "first"), ("B", "x"), ("A", "last"))
    wanted = model(spec=spec(environment=tuple(EnvironmentVariable(*pair) for pair in pairs)))
    environment = container(the_pod(wanted))["env"]
    assert sorted((one["name"], one["value"]) for one in environment) == [("A", "last"), ("B", "x")]


def test_a_model_without_variables_gets_none() -> None:
    """Nor an empty list of them."""
    assert "env" not in container(the_pod(model(spec=spec(environment=()))))


def test_the_template_adds_variables_and_changes_none() -> None:
    """What the message says is what the model finds, whatever the operator has put into the template."""
    extras = [{"name": "MODEL_ID", "value": "the template's"}, {"name": "EXTRA", "value": "$(MODEL_ID)"}]
    settings = PodSettings(template=PodTemplate({"spec": {"containers": [{"name": "model", "env": extras}]}}))
    assert container(the_pod(settings=settings))["env"] == [*ENVIRONMENT, {"name": "EXTRA", "value": "$(MODEL_ID)"}]
    alone = the_pod(model(spec=spec(environment=())), settings)
    assert container(alone)["env"] == extras


def test_one_model_finds_nothing_of_another() -> None:
    """Pods that are made one after the other share nothing, the template included."""
    extra = {"name": "EXTRA", "value": "1"}
    template = {
        "metadata": {"labels": {"team": "energy"}},
        "spec": {"containers": [{"name": "model", "env": [extra], "resources": {"limits": {"cpu": "1"}}}]},
    }
    before = json.dumps(template)
    settings = PodSettings(template=PodTemplate(template))
    first = the_pod(model(spec=spec(environment=(EnvironmentVariable("A", "1"),))), settings)
    first["metadata"]["labels"]["mine"] = first["spec"]["mine"] = "alone"
    container(first)["resources"]["limits"]["cpu"] = "9"
    second = the_pod(model("m-1", spec=spec("m-1", environment=(EnvironmentVariable("B", "2"),))), settings)
    assert [one["name"] for one in container(second)["env"]] == ["B", "EXTRA"]
    assert container(second)["resources"] == {"limits": {"cpu": "1"}}
    assert "alone" not in json.dumps(second)
    assert json.dumps(template) == before


def test_the_template_cannot_make_a_pod_somebody_elses() -> None:
    """Name, labels and annotations by which we know our pods are ours alone; others may be added."""
    hostile = {
        "name": "mine",
        "labels": {"app.kubernetes.io/managed-by": "me", "mso/run-id": "x", "team": "energy"},
        "annotations": {"mso/model": "{}", "mso/run": "7", "cost": "none"},
    }
    made = the_pod(settings=PodSettings(template=PodTemplate({"metadata": hostile})))
    plain = the_pod()
    assert made["metadata"]["name"] == plain["metadata"]["name"]
    assert made["metadata"]["labels"] == plain["metadata"]["labels"] | {"team": "energy"}
    assert made["metadata"]["annotations"] == plain["metadata"]["annotations"] | {"cost": "none"}
    assert attempt_of(made) == attempt()


def test_a_template_that_takes_labels_away_takes_none_of_ours() -> None:
    """Null removes what was there before; ours come after it."""
    made = the_pod(settings=PodSettings(template=PodTemplate({"metadata": {"labels": None, "annotations": None}})))
    assert made == the_pod()
