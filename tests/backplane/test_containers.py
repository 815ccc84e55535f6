"""A model as a container: all that it is created with, whose it is, and what is noted beside it."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mso import recollection
from mso.backplane import DeployError, Mark
from mso.backplane.containers import (
    Container,
    ContainerSettings,
    container_config,
    container_name,
    is_of_same_order,
    is_root,
    mark_volume,
    notes_in,
    of_inspection,
    of_listing,
    of_run,
    told_volume,
)
from mso.model import EnvironmentVariable, Model, Resources, RunKey, SimulationId
from tests.builders import attempt, model, request, spec

PLAIN = ContainerSettings()
RUN = RunKey(SimulationId("sim-1"), 1)
RUN_ID = "6bbea63d1db641267fc6cbd8bbc20fd11739276b"
"""Of run 1 of sim-1."""


def config(of: Model | None = None, settings: ContainerSettings = PLAIN) -> Any:
    """What the container is created with; Any, for it is looked into."""
    return container_config(of or model(), settings)


def listed(of: Model | None = None, **changed: Any) -> dict[str, Any]:
    """One item of a listing of the engine, for a container that was created for this model."""
    of = of or model()
    usual = {
        "Id": "abc",
        "Names": [f"/{container_name('mso', of.current)}"],
        "Labels": config(of)["Labels"],
        "State": "running",
    }
    return usual | changed


def test_a_model_is_created_with_this_and_nothing_else() -> None:
    """Never started again, never process 1, without new privileges, and with exactly the variables of its message."""
    of = model(
        spec=spec(environment=(EnvironmentVariable("A", "1"), EnvironmentVariable("B", ""))),
        request=request(simulator_id="DOTS-so"),
    )
    assert config(of) == {
        "Image": "image:1",
        "Env": ["A=1", "B="],
        "Labels": {
            "app.kubernetes.io/managed-by": "mso",
            "app.kubernetes.io/part-of": of.request.simulator,
            "mso/project": "mso",
            "simulator_id": "DOTS-so",
            "simulation_id": "sim-1",
            "model_id": "m-0",
            "run": "1",
            "mso/run-id": RUN_ID,
            "mso/simulator": of.request.simulator,
            "mso/simulation": "sim-1",
            "mso/run": "1",
            "mso/model-id": "m-0",
            "mso/attempt": "1",
            "mso/model": recollection.encode(of),
        },
        "HostConfig": {
            "RestartPolicy": {"Name": "no"},
            "Init": True,
            "SecurityOpt": ["no-new-privileges"],
            "CapDrop": ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT"],
            "PidsLimit": 4096,
            "NetworkMode": "default",
            "ExtraHosts": ["host.docker.internal:host-gateway"],
        },
    }


def test_what_an_operator_sets_is_in_it() -> None:
    """Project, network, and the stricter level."""
    made = config(settings=ContainerSettings(project="other", network="stack_default", restricted=True))
    assert made["Labels"]["mso/project"] == "other"
    assert made["HostConfig"]["NetworkMode"] == "stack_default"
    assert made["HostConfig"]["CapDrop"] == ["ALL"]


def test_command_and_args_are_those_of_a_pod() -> None:
    """A command takes the place of the entry point, args that of what follows it; neither leaves both to the image."""
    made = config(model(spec=spec(command=("run", "$(X)"), args=("--fast",))))
    assert (made["Entrypoint"], made["Cmd"]) == (["run", "$(X)"], ["--fast"])
    assert not {"Entrypoint", "Cmd"} & config().keys()


@pytest.mark.parametrize(
    ("resources", "limits"),
    (
        (Resources(), {}),
        (Resources(cpu_limit="500m"), {"CpuPeriod": 100_000, "CpuQuota": 50_000}),
        (Resources(cpu_limit="64"), {"CpuPeriod": 100_000, "CpuQuota": 6_400_000}),
        (Resources(cpu_limit="1m"), {"CpuPeriod": 100_000, "CpuQuota": 1000}),
        (Resources(cpu_request="250m"), {"CpuShares": 256}),
        (Resources(cpu_request="1m"), {"CpuShares": 2}),
        (Resources(memory_limit="64Mi"), {"Memory": 67_108_864, "MemorySwap": 67_108_864}),
        (Resources(memory_request="1.5k"), {"MemoryReservation": 1500}),
        (Resources(gpus=2), {"DeviceRequests": [{"Driver": "", "Count": 2, "Capabilities": [["gpu"]]}]}),
    ),
)
def test_resources_become_limits_of_the_engine(resources: Resources, limits: dict[str, Any]) -> None:
    """As a kubelet writes them into cgroups: quota and shares, and no swap beyond the limit of memory."""
    plain = config()["HostConfig"]
    assert config(model(spec=spec(resources=resources)))["HostConfig"] == plain | limits


def test_what_is_no_quantity_is_refused_by_name() -> None:
    """Its author reads which field, and what one looks like."""
    with pytest.raises(DeployError, match=r"memoryLimit: 'much' is no quantity: .* 2Gi"):
        config(model(spec=spec(resources=Resources(memory_limit="much"))))


def test_names_differ_by_project_and_attempt() -> None:
    """Two projects on one engine do not meet, nor do two attempts."""
    attempts = [attempt(), attempt("m-1"), attempt(number=2), attempt(run=2), attempt(simulation="sim-2")]
    names = {container_name(project, one) for project in ("mso", "other") for one in attempts}
    assert len(names) == 10
    assert {name.split("-")[0] for name in names} == {"mso", "other"}


def test_a_container_of_ours_is_known_again() -> None:
    """By a listing and by a look at it alike."""
    of = model()
    labels, name = config(of)["Labels"], f"/{container_name('mso', of.current)}"
    inspected = {"Id": "abc", "Name": name, "Config": {"Labels": labels}, "State": {"Status": "running"}}
    expected = Container(of.current, "abc", "running", recollection.encode(of))
    assert of_listing(listed(of), "mso") == of_inspection(inspected, "mso") == expected
    assert is_of_same_order(expected, of)
    assert not is_of_same_order(expected, model(created_at=of.created_at + timedelta(seconds=1)))


@pytest.mark.parametrize(
    "changed",
    (
        {"Labels": None},
        {"Labels": {}},
        {"Labels": {**config()["Labels"], "mso/project": "other"}},
        {"Labels": {**config()["Labels"], "app.kubernetes.io/managed-by": "Helm"}},
        {"Labels": {**config()["Labels"], "mso/run": "one"}},
        {"Labels": {name: text for name, text in config()["Labels"].items() if name != "mso/attempt"}},
        {"Labels": {**config()["Labels"], "mso/attempt": "2"}},
        {"Names": ["/copied"]},
        {"Names": []},
    ),
)
def test_whatever_is_not_ours_is_nobody(changed: dict[str, Any]) -> None:
    """Labels of another project, copied ones, and damaged ones (fault K8)."""
    assert of_listing(listed(**changed), "mso") is None


@pytest.mark.parametrize(
    ("user", "expected"),
    (("", True), ("0", True), ("root", True), ("0:0", True), ("root:users", True), ("1000", False), ("app:0", False)),
)
def test_who_is_root(user: str, expected: bool) -> None:
    """An image without a user runs as root."""
    assert is_root(user) is expected


def test_notes_are_read_as_they_were_written() -> None:
    """The marks of each run, all containers that were told to end, and the volumes that go with a run."""
    other = RunKey(RUN.simulation, 2)
    made = [
        mark_volume("mso", RUN, Mark.READY),
        mark_volume("mso", RUN, Mark.STOPPING),
        told_volume("mso", RUN, ["b", "a"]),
        told_volume("mso", other, ["c"]),
    ]
    notes = notes_in(made)
    assert notes.marks == {RUN_ID: {Mark.READY, Mark.STOPPING}}
    assert notes.told == {"a", "b", "c"}
    assert {run: len(names) for run, names in notes.names.items()} == {RUN_ID: 3, notes_run_id(other): 1}
    assert made[2]["Name"] == told_volume("mso", RUN, ["a", "b"])["Name"]
    assert len({volume["Name"] for volume in made}) == 4


def notes_run_id(run: RunKey) -> str:
    return of_run("mso", run)[-1].partition("=")[2]


def test_a_mark_of_a_later_release_is_passed_over() -> None:
    """So that an older one can still be started."""
    volume = mark_volume("mso", RUN, Mark.READY)
    volume["Labels"]["mso/mark"] = "archived"
    assert notes_in([volume]).marks == {}


@given(st.text(), st.text())
def test_no_two_models_have_one_name(one: str, other: str) -> None:
    """Whatever the ids are; and the engine takes the name."""
    names = [container_name("mso", attempt(text)) for text in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    assert all(len(name) < 70 and name.replace("-", "").isalnum() and name.isascii() for name in names)
