"""A roster with clocks that stand still until they are moved, and the statuses that it is shown."""

from datetime import timedelta
from typing import Any

from mso.backplane.roster import Entry, Limits, Roster
from mso.model import Attempt, End, Model
from tests.backplane.seen import ended, pod, running, waiting
from tests.builders import NOW, attempt

LIMITS = Limits(image_pull=60, pending=300, node=30)
RUNNING: dict[str, Any] = {"phase": "Running", "containerStatuses": [running()]}
PULLING: dict[str, Any] = {"phase": "Pending", "containerStatuses": [waiting("ErrImagePull", "no route")]}
BACKING_OFF: dict[str, Any] = {"phase": "Pending", "containerStatuses": [waiting("ImagePullBackOff", "later")]}
BAD_NAME: dict[str, Any] = {"phase": "Pending", "containerStatuses": [waiting("InvalidImageName")]}
UNSCHEDULED: dict[str, Any] = {"phase": "Pending"}
SILENT: dict[str, Any] = {"phase": "Unknown"}
LINGERING: dict[str, Any] = {"phase": "Running", "containerStatuses": [running("proxy"), ended(0)]}


class Desk:
    """A roster with its clocks."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.time = 1000.0
        self.alarms = 0
        self.roster = Roster(limits, self._alarm, lambda: self.time, lambda: NOW + timedelta(seconds=self.time - 1000))

    def _alarm(self) -> None:
        self.alarms += 1

    def see(self, version: int | str, status: Any = None, of: Model | None = None, **fields: Any) -> Entry | None:
        """A pod is shown; one that is deleted, or none, has the status of one that runs."""
        return self.roster.see(pod(of, version=str(version), status=status or RUNNING, **fields))

    def lose(self, version: int, status: Any = None, **fields: Any) -> Entry | None:
        """The watch says that a pod is gone."""
        return self.roster.lose(pod(version=str(version), status=status or RUNNING, **fields))

    def known(self, of: Attempt = attempt()) -> Entry:  # noqa: B008 - frozen
        entry = self.roster.get(of)
        assert entry
        return entry

    @property
    def end(self) -> End | None:
        return self.known().end

    def due_after(self, seconds: float) -> list[Attempt]:
        """Time passes; then, what is due."""
        self.time += seconds
        return [entry.attempt for entry in self.roster.due()]
