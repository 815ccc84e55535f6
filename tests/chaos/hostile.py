"""The hostile scheduler: makes the faults of a plan, each lane by itself, until it is told that it was enough."""

import threading
import time
from collections import defaultdict
from collections.abc import Sequence

from tests.chaos.faults import Cue, Fault
from tests.chaos.world import World

CUE_SECONDS = 2.0
"""How long a fault waits for its cue."""


class Hostile:
    """Begins at once; when `end` returns all is up and well."""

    def __init__(self, world: World, faults: Sequence[Fault]) -> None:
        self.trouble: list[BaseException] = []
        self._world = world
        self._over = False
        self._began = time.monotonic()
        lanes: defaultdict[str, list[Fault]] = defaultdict(list)
        for fault in faults:
            lanes[fault.kind.lane].append(fault)
        self._threads = [threading.Thread(target=self._run, args=(lane,), daemon=True) for lane in lanes.values()]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over = True
        self._world.board.tell()
        for thread in self._threads:
            thread.join()
        if self.trouble:
            raise self.trouble[0]

    def _run(self, faults: Sequence[Fault]) -> None:
        try:
            planned, over = 0.0, self._began
            for fault in faults:
                if self._pause(over + fault.at - planned) or self._await(fault.cue):
                    return
                with self._world.inflict(fault):
                    self._pause(time.monotonic() + fault.lasts)
                planned, over = fault.at + fault.lasts, time.monotonic()
        except BaseException as error:  # noqa: BLE001 - `end` raises it
            self.trouble.append(error)

    def _pause(self, until: float) -> bool:
        """Whether it was enough."""
        return self._world.board.wait(lambda: self._over, until)

    def _await(self, cue: Cue) -> bool:
        """Wait a moment for the next one; whether it was enough."""
        before = self._count(cue)
        until = time.monotonic() + (0.0 if cue is Cue.NONE else CUE_SECONDS)
        self._world.board.wait(lambda: self._over or self._count(cue) > before, until)
        return self._over

    def _count(self, cue: Cue) -> int:
        heard = self._world.judge.heard
        match cue:
            case Cue.REQUEST:
                return heard["DeployModels"]
            case Cue.READY:
                return heard["ReadyForProcessing"]
            case Cue.TOLD:
                return heard["ModelHasTerminated"] + heard["AllModelsHaveTerminated"] + heard["ModelsReady"]
            case Cue.START:
                return self._world.register.began
            case Cue.END:
                return self._world.register.ended
            case _:
                return 0
