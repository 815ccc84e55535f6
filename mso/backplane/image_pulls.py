"""Images that the engine lacks: each is pulled once, however many models wait for it.

A pull that fails in a way that may pass is tried again by whoever deploys, for the grace that pods get; what no second
try can change fails its model at once. A pull goes on while nobody waits for it.
"""

import asyncio
import time

import structlog

from mso.backplane import BackplaneError, DeployError
from mso.backplane.docker_engine import Engine, RefusedError
from mso.model import Attempt, Reason

log = structlog.get_logger()

WAIT_SECONDS = 10.0
"""How long a deployment waits for a pull before it says so: its simulation may be stopped meanwhile."""

_FINAL = (
    "access denied",
    "denied:",
    "invalid reference format",
    "manifest unknown",
    "no basic auth credentials",
    "no matching manifest",
    "not found",
    "repository does not exist",
    "requested access to the resource is denied",
    "unauthorized",
)
"""What registries and engine say where only somebody's deed can help."""


class ImagePulls:
    """`grace` is how long an image may fail to be pulled, in seconds."""

    def __init__(self, engine: Engine, grace: float) -> None:
        self._engine = engine
        self._grace = grace
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._progress: dict[str, str] = {}
        self._failing_since: dict[Attempt, float] = {}

    async def have(self, attempt: Attempt, image: str) -> None:
        """Returns when the engine has pulled the image.

        Raises DeployError where it cannot be had, and BackplaneError while it is being pulled, or may be had later.
        """
        pull = self._pulls.get(image) or self._begin(image)
        done, _ = await asyncio.wait((pull,), timeout=WAIT_SECONDS)
        if not done:
            raise BackplaneError(f"image {image} is being pulled: {self._progress.get(image, '')}".rstrip(": "))
        try:
            pull.result()
        except BackplaneError as error:
            self._failed(attempt, image, error)
        self._failing_since.pop(attempt, None)

    def forget(self, attempt: Attempt) -> None:
        self._failing_since.pop(attempt, None)

    async def close(self) -> None:
        for pull in self._pulls.values():
            pull.cancel()
        await asyncio.gather(*self._pulls.values(), return_exceptions=True)

    def _begin(self, image: str) -> asyncio.Task[None]:
        log.info("docker.pulling", image=image)
        pull = asyncio.create_task(
            self._engine.pull(image, lambda words: self._progress.__setitem__(image, words)), name=f"pull {image}"
        )
        self._pulls[image] = pull
        pull.add_done_callback(lambda done: self._ended(image, done))
        return pull

    def _ended(self, image: str, pull: asyncio.Task[None]) -> None:
        del self._pulls[image]
        self._progress.pop(image, None)
        if not pull.cancelled():
            pull.exception()  # whoever waited has it; where nobody does, the next one tries again

    def _failed(self, attempt: Attempt, image: str, error: BackplaneError) -> None:
        words = f"image {image} cannot be pulled: {error}"
        since = self._failing_since.setdefault(attempt, time.monotonic())
        is_final = isinstance(error, RefusedError) and error.status in (400, 404)
        if is_final or any(final in str(error).lower() for final in _FINAL):
            pass
        elif time.monotonic() - since < self._grace:
            raise BackplaneError(words) from error
        del self._failing_since[attempt]
        raise DeployError(Reason.IMAGE_PULL_FAILED, words) from error
