"""Who an attempt is, as it is written on whatever runs it, and read again by whoever finds that. Pure.

Pods carry it as annotations, containers as labels.
"""

from collections.abc import Mapping
from functools import lru_cache

from mso import recollection
from mso.backplane.names import fingerprint, slug
from mso.model import Attempt, Model, ModelId, ModelKey, RunKey, SimulationId

MANAGED_BY = "app.kubernetes.io/managed-by"
PART_OF = "app.kubernetes.io/part-of"
RUN_ID = "mso/run-id"
"""Selects what is of one run; the labels that people filter by can look the same for two."""

_NAME_LENGTH = 63
_RECOLLECTION = "mso/model"


@lru_cache(maxsize=1024)  # asked for by the create, and then for what it answers with
def attempt_name(attempt: Attempt) -> str:
    """Legal and unique for any ids: model, simulation, run and number for people, a fingerprint for the rest."""
    key = attempt.key
    tail = f"{key.run}-{attempt.number}-{fingerprint(key.simulation, str(key.run), key.model, str(attempt.number))}"
    room = _NAME_LENGTH - len(tail) - 2
    model = slug(key.model, room // 2)
    return "-".join(part for part in (model, slug(key.simulation, room - len(model)), tail) if part)


@lru_cache(maxsize=256)
def run_id(run: RunKey) -> str:
    return fingerprint(run.simulation, str(run.run), length=40)


def particulars(model: Model) -> dict[str, str]:
    """The ids as they were sent, and all that is needed to adopt the model."""
    key = model.key
    return {
        "mso/simulator": model.request.simulator,
        "mso/simulation": key.simulation,
        "mso/run": str(key.run),
        "mso/model-id": key.model,
        "mso/attempt": str(model.attempt),
        _RECOLLECTION: recollection.encode(model),
    }


def attempt_in(written: Mapping[str, str]) -> Attempt | None:
    """Whose particulars these are. Who copies what carries them copies them too, so that alone proves nothing."""
    try:
        run, model = int(written["mso/run"]), ModelId(written["mso/model-id"])
        return Attempt(ModelKey(SimulationId(written["mso/simulation"]), run, model), int(written["mso/attempt"]))
    except (KeyError, ValueError):
        return None


def recollection_in(written: Mapping[str, str]) -> str:
    """The model as text (mso.recollection); empty if somebody took it off."""
    return written.get(_RECOLLECTION, "")
