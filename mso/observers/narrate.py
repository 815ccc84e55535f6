"""The story of a simulation as the log tells it: one event a Change. `model.failed` is told by the post-mortem."""

from typing import assert_never

import structlog

from mso.changes import (
    Change,
    ModelAdded,
    ModelChanged,
    ModelRemoved,
    SimulationAdded,
    SimulationAdopted,
    SimulationEnded,
    SimulationExtended,
    SimulationForgotten,
    SimulationReady,
    SimulationRemoving,
    SimulationReported,
    SimulationRestored,
    SimulationStopping,
)
from mso.model import Failed, Mark, Model, Retry, RunKey

log = structlog.get_logger()


def narrate(change: Change) -> None:
    """Tell it."""
    match change:
        case SimulationAdded():
            log.info("simulation.added", **_run(change.run), simulator=change.request.simulator, models=change.models)
        case SimulationExtended():
            if not change.again:
                log.info("simulation.extended", **_run(change.run))
        case SimulationRestored():
            log.info("simulation.restored", **_run(change.run), models=change.models, living=change.living)
        case SimulationAdopted():
            _tell_adopted(change)
        case ModelAdded():
            pass  # there may be thousands at once; each is told of when it is deployed
        case ModelChanged(event=Retry(cause=cause)):
            log.warning("model.retried", **_model(change.model), attempt=change.model.attempt, **_failure(cause))
        case ModelChanged():
            log.info(
                "model.state_changed",
                **_model(change.model),
                was=change.before.state.value,
                now=change.model.state.value,
                **({"exit_code": change.model.exit_code} if change.model.state.terminal else {}),
            )
        case SimulationReady():
            log.info("simulation.ready", **_run(change.run))
        case SimulationStopping():
            log.info("simulation.stopping", **_run(change.run), why=change.why)
        case SimulationRemoving():
            log.info("simulation.removing", **_run(change.run))
        case SimulationEnded():
            log.info("simulation.ended", **_run(change.run))
        case SimulationReported():
            log.info("simulation.reported", **_run(change.run))
        case ModelRemoved():
            log.info("model.removed", **_model(change.model))
        case SimulationForgotten():
            log.debug("simulation.forgotten", **_run(change.run))
        case _:
            assert_never(change)


def _tell_adopted(change: SimulationAdopted) -> None:
    told = log.bind(**_run(change.run), models=change.models, living=change.living)
    if change.living and Mark.READY not in change.marks:
        told.warning(
            "simulation.adopted",
            hint="which models were ready is not known: ModelsReady goes out only when all of them announce it again",
        )
    else:
        told.info("simulation.adopted", marks=sorted(change.marks))


def _run(run: RunKey) -> dict[str, object]:
    return {"simulation": run.simulation, "run": run.run}


def _model(model: Model) -> dict[str, object]:
    return {"simulation": model.key.simulation, "run": model.key.run, "model": model.key.model}


def _failure(failed: Failed) -> dict[str, object]:
    return {"exit_code": failed.exit_code, "reason": str(failed.reason), "message": failed.message}
