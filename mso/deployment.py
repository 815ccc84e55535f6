"""Deployment: what was asked for is admitted, then deployed, several at once, each in a task of its own.

No deployment waits for another one's I/O. A model that cannot be deployed has failed, with the reason; one whose
simulation is being stopped is not deployed any more.
"""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import structlog

from mso.admission import Admission, Waiting
from mso.backplane import Backplane, BackplaneError, DeployError
from mso.changes import (
    Change,
    ModelAdded,
    ModelChanged,
    SimulationAdded,
    SimulationAdopted,
    SimulationEnded,
    SimulationStopping,
)
from mso.crash import reached
from mso.inventory import Inventory
from mso.model import NO_EXIT_CODE, Attempt, Failed, Mark, Model, ModelKey, Reason, RunKey
from mso.patience import pauses

log = structlog.get_logger()

LONGEST_PAUSE_SECONDS = 10.0

_NOT_STARTED = Failed(NO_EXIT_CODE, Reason.STOPPED, "it was not started: its simulation was stopped before that")


class Deployment:
    """Observer and loop.

    `concurrency` bounds how many are deployed at once, `timeout` how long each is tried, `max_active` how many models
    live at once (None: no limit). `deployed` counts an outcome, and how many seconds it took; `follow` is told of every
    model that now runs.
    """

    def __init__(
        self,
        inventory: Inventory,
        backplane: Backplane,
        *,
        concurrency: int,
        timeout: timedelta,
        max_active: int | None,
        deployed: Callable[[str, float], None],
        follow: Callable[[Model], None],
    ) -> None:
        self._inventory = inventory
        self._backplane = backplane
        self._concurrency = concurrency
        self._timeout = timeout
        self._max_active = max_active
        self._count_deployed = deployed
        self._follow = follow
        self._admission = Admission(max_active, self._is_complete)
        self._to_deploy: asyncio.Queue[ModelKey] = asyncio.Queue()
        self._deploying: dict[Attempt, asyncio.Task[None]] = {}

    def observe(self, change: Change) -> None:
        """Queue what this Change asks to be deployed."""
        match change:
            case SimulationAdded(run=run, models=models):
                self._admission.expect(run, models)
            case SimulationAdopted(run=run, marks=marks, alive=alive) if Mark.REPORTED not in marks:
                self._admission.adopt(run, alive)
            case ModelAdded(model=model):
                self._admission.add(model.key)
                self.admit()
            case ModelChanged(model=model) if model.state.terminal:
                self._admission.ended(model.key)
                self.admit()
            case SimulationStopping(run=run):
                for key in self._admission.release(run):
                    self.again(key)  # where it is dropped, and its end told
            case SimulationEnded(run=run):
                self._admission.forget(run)
                self.admit()
            case _:
                pass

    def resume(self, run: RunKey, running: list[ModelKey]) -> None:
        """A run of an earlier process, with models that are in already; those that are not are said to `wait`."""
        if running:
            self._admission.adopt(run, running)

    def wait(self, key: ModelKey) -> None:
        """A model of an earlier process was never deployed: it is its turn once there is room for its run."""
        if self._stops(key):
            self.again(key)  # where it is dropped, and its end told
        else:
            self._admission.add(key)

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """Runs that wait for room."""
        return self._admission.waiting

    def again(self, key: ModelKey) -> None:
        """Deploy the model's next attempt: what is in stays in."""
        self._to_deploy.put_nowait(key)

    async def created(self, about: RunKey | Attempt) -> None:
        """Wait for the deployments under way: one that is tried again would bring back what was removed before it."""
        creates = [task for attempt, task in self._deploying.items() if about in (attempt, attempt.key.run_key)]
        if creates:
            await asyncio.wait(creates)

    @property
    def undeployed(self) -> int:
        """Models that wait to be deployed, or are being."""
        waiting = sum(len(waiting.models) for waiting in self._admission.waiting)
        return waiting + self._to_deploy.qsize() + len(self._deploying)

    async def all_deployed(self) -> None:
        """Wait until nothing waits to be deployed."""
        await self._to_deploy.join()

    async def deploy_models(self) -> None:
        """Loop: deploy what was asked for, several at once, each in a task of its own."""
        slots = asyncio.Semaphore(self._concurrency)
        async with asyncio.TaskGroup() as group:
            while True:
                await slots.acquire()
                key = await self._to_deploy.get()
                model = self._inventory.model(key)
                if model is None or model.state.terminal or self._drop_if_stopping(model):
                    self._to_deploy.task_done()
                    slots.release()
                    continue
                task = group.create_task(self._deploy(model), name=f"deploy {model.current}")
                self._deploying[model.current] = task
                task.add_done_callback(partial(self._no_longer_deploying, model.current))
                task.add_done_callback(lambda _: slots.release())

    def _no_longer_deploying(self, attempt: Attempt, _: asyncio.Task[None]) -> None:
        del self._deploying[attempt]
        self._to_deploy.task_done()

    def _drop_if_stopping(self, model: Model) -> bool:
        if not self._stops(model.key):
            return False
        self._inventory.apply(model.current, _NOT_STARTED)
        return True

    def _stops(self, key: ModelKey) -> bool:
        run = self._inventory.run(key.run_key)
        return run is not None and run.stopping

    async def _deploy(self, model: Model) -> None:
        began = time.monotonic()
        failed = await self._try_to_deploy(model)
        self._count_deployed("failed" if failed else "succeeded", time.monotonic() - began)
        if failed:
            self._inventory.apply(model.current, failed)
            return
        log.info(
            "model.deployed",
            **_about(model),
            image=model.spec.image,
            **({"attempt": model.attempt} if model.attempt > 1 else {}),
        )
        self._follow(model)

    async def _try_to_deploy(self, model: Model) -> Failed | None:
        """Until it runs, can never run, is not wanted any more, or has been tried for too long; None if it runs.

        No step of the loop: it may rightly wait for minutes, for room in the cluster or for its API. It keeps its slot
        meanwhile, so that thousands that wait for room ask no more often than a few do (fault D3).
        """
        until = time.monotonic() + self._timeout.total_seconds()
        for pause in pauses(cap=LONGEST_PAUSE_SECONDS):
            try:
                reached("deploy.before")
                await self._backplane.deploy(model)
                reached("deploy.after")
            except DeployError as exc:
                return Failed(NO_EXIT_CODE, exc.reason, str(exc))
            except BackplaneError as exc:
                wait = max(pause, exc.retry_after * random.uniform(1.0, 1.5))
                if self._stops(model.key):
                    return _NOT_STARTED
                if time.monotonic() + wait > until:
                    message = f"not deployed within {self._timeout.total_seconds():g} s: {exc}"
                    return Failed(NO_EXIT_CODE, Reason.DEPLOY_FAILED, message)
                log.info("model.deploy_waits", **_about(model), why=str(exc), seconds=round(wait, 1))
                await asyncio.sleep(wait)
                if self._stops(model.key):
                    return _NOT_STARTED
            else:
                return None
        raise AssertionError("patience has no end")

    def _is_complete(self, key: RunKey) -> bool:
        run = self._inventory.run(key)
        return run is None or not run.request.more_to_come

    def admit(self) -> None:
        """Let in who may be deployed now, and say once who waits, and behind whom."""
        for key in self._admission.admit():
            self._to_deploy.put_nowait(key)
        ahead: list[str] = []
        for waiting in self._admission.waiting:
            if not waiting.told and len(waiting.models) >= waiting.expected:
                waiting.told = True
                log.info(
                    "simulation.waiting",
                    simulation=waiting.run.simulation,
                    run=waiting.run.run,
                    models=len(waiting.models),
                    active=self._admission.active,
                    limit=self._max_active,
                    behind=ahead,
                )
            ahead = [*ahead, waiting.run.simulation]


def _about(model: Model) -> dict[str, object]:
    return {"simulation": model.key.simulation, "run": model.key.run, "model": model.key.model}
