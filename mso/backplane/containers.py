"""A model as a container: its name, its labels, what it is created with; and back, from what a container carries. Pure.

- The name follows from project and attempt alone, so a create that comes twice can only meet its own container.
- What is needed to adopt a container is in its labels, which nobody can change afterwards. What is learned later is
  written on empty volumes beside it: the marks of its run, and which containers were told to end (ADR 15).
- A container is safe by default, and yet runs images whose programs begin as root.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
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
from mso.backplane.names import fingerprint
from mso.backplane.quantities import limits_of
from mso.model import Attempt, EnvironmentVariable, Model, RunKey

Json = dict[str, Any]
"""What the engine says and is told."""

PROJECT = "mso/project"
DEFAULT_SIGNAL = "SIGTERM"
PIDS = 4096
"""Processes and threads that one container may have: a model that forks for ever is not to take the machine along."""
NEEDLESS_CAPABILITIES = ("AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT")
"""Those that Docker grants and that nobody needs who only changes the owner of files, and then who he is."""
HOST_NAME = "host.docker.internal"
"""The machine itself, by the name that Docker Desktop gives it anyway."""

_MARK = "mso/mark"
_TOLD = "mso/told-to-end"
_NOT_OVER = ("running", "paused", "restarting")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """What an operator sets about containers."""

    project: str = "mso"
    """Tells the containers of one MSO from those of another one on the same engine."""
    network: str = ""
    """The network that they are on; empty is the engine's own bridge."""
    restricted: bool = False
    """Without any capability, and no image that runs as root."""


@dataclass(frozen=True, slots=True)
class Container:
    """One that carries our labels, as it was seen."""

    attempt: Attempt
    id: str
    status: str
    """The engine's word: created, running, paused, restarting, removing, exited, dead."""
    recollection: str = field(repr=False)

    @property
    def lives(self) -> bool:
        return self.status in _NOT_OVER

    @property
    def is_unborn(self) -> bool:
        return self.status == "created"


def container_name(project: str, attempt: Attempt) -> str:
    """Legal and unique for any ids."""
    return f"{project}-{attempt_name(attempt)}"


def ours(project: str) -> list[str]:
    """The labels that select all of one project, and nothing else."""
    return [f"{MANAGED_BY}=mso", f"{PROJECT}={project}"]


def of_run(project: str, run: RunKey) -> list[str]:
    """The labels that select what is of one run."""
    return [*ours(project), f"{RUN_ID}={run_id(run)}"]


def container_config(model: Model, settings: ContainerSettings) -> Json:
    """What is to be created for the model's current attempt. Raises DeployError for a quantity that is none.

    https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate
    """
    spec = model.spec
    config: Json = {
        "Image": spec.image,
        "Env": [_variable(one) for one in spec.environment],
        "Labels": _labels(model, settings.project),
        "HostConfig": {
            "RestartPolicy": {"Name": "no"},
            # Process 1 ignores SIGTERM unless it asked for it: with an init before it a model is never process 1.
            "Init": True,
            "SecurityOpt": ["no-new-privileges"],
            "CapDrop": ["ALL"] if settings.restricted else list(NEEDLESS_CAPABILITIES),
            "PidsLimit": PIDS,
            "NetworkMode": settings.network or "default",
            "ExtraHosts": [f"{HOST_NAME}:host-gateway"],
            **(limits_of(spec.resources) if spec.resources else {}),
        },
    }
    if spec.command:
        config["Entrypoint"] = list(spec.command)
    if spec.args:
        config["Cmd"] = list(spec.args)
    return config


def is_root(user: str) -> bool:
    """Whether this user of an image (`name`, `uid`, `uid:gid`) is root; a name is believed."""
    return user.partition(":")[0] in ("", "0", "root")


def _labels(model: Model, project: str) -> dict[str, str]:
    key, request = model.key, model.request
    return {
        MANAGED_BY: "mso",
        PART_OF: request.simulator,
        PROJECT: project,
        "simulator_id": request.simulator_id or request.simulator,
        "simulation_id": key.simulation,
        "model_id": key.model,
        "run": str(key.run),
        RUN_ID: run_id(key.run_key),
        **particulars(model),
    }


def _variable(variable: EnvironmentVariable) -> str:
    return f"{variable.name}={variable.value}"


# -- what is found ----------------------------------------------------------------------------------------------------


def of_listing(summary: Json, project: str) -> Container | None:
    """One item of a listing; None if it is not ours."""
    return _container(summary["Id"], summary.get("Names") or (), summary.get("Labels"), summary["State"], project)


def of_inspection(inspected: Json, project: str) -> Container | None:
    """A container as `inspect` shows it; None if it is not ours."""
    status = inspected["State"]["Status"]
    return _container(inspected["Id"], [inspected["Name"]], inspected["Config"].get("Labels"), status, project)


def _container(
    identifier: str, names: Iterable[str], labels: Mapping[str, str] | None, status: str, project: str
) -> Container | None:
    labels = labels or {}
    if labels.get(PROJECT) != project or labels.get(MANAGED_BY) != "mso":
        return None
    attempt = attempt_in(labels)
    # Who commits a container of ours to an image and runs that has our labels: the name is what only one can have.
    if attempt is None or f"/{container_name(project, attempt)}" not in names:
        return None
    return Container(attempt, identifier, status, recollection_in(labels))


def is_of_same_order(container: Container, model: Model) -> bool:
    """Whether it was created for this very model: same request, same attempt, asked for at the same instant."""
    return container.recollection == recollection.encode(model)


# -- what is noted beside containers ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notes:
    """What the volumes of a project say."""

    marks: Mapping[str, frozenset[Mark]]
    """By run-id."""
    told: frozenset[str]
    """Ids of containers that were told to end."""
    names: Mapping[str, tuple[str, ...]]
    """The names of the volumes of each run-id."""


def mark_volume(project: str, run: RunKey, mark: Mark) -> Json:
    """The volume whose existence is the mark."""
    return _volume(project, run, str(mark), {_MARK: str(mark)})


def told_volume(project: str, run: RunKey, containers: Collection[str]) -> Json:
    """The volume that says which containers of a run were told to end."""
    listed = sorted(containers)
    return _volume(project, run, f"told-{fingerprint(*listed)}", {_TOLD: " ".join(listed)})


def _volume(project: str, run: RunKey, what: str, labels: dict[str, str]) -> Json:
    return {
        "Name": f"{project}-{run_id(run)}-{what}",
        "Labels": {
            MANAGED_BY: "mso",
            PROJECT: project,
            RUN_ID: run_id(run),
            "simulation_id": run.simulation,
            "run": str(run.run),
            **labels,
        },
    }


def notes_in(volumes: Iterable[Json]) -> Notes:
    """What these say together; a mark that is unknown here is passed over."""
    marks: defaultdict[str, set[Mark]] = defaultdict(set)
    names: defaultdict[str, list[str]] = defaultdict(list)
    told: set[str] = set()
    for volume in volumes:
        labels = volume.get("Labels") or {}
        run = labels.get(RUN_ID, "")
        names[run].append(volume["Name"])
        told.update(labels.get(_TOLD, "").split())
        if (mark := labels.get(_MARK)) in tuple(Mark):
            marks[run].add(Mark(mark))
    return Notes(
        {run: frozenset(found) for run, found in marks.items()},
        frozenset(told),
        {run: tuple(found) for run, found in names.items()},
    )
