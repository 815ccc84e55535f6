"""One at a time on a Docker engine: those that share a state directory are kept apart by a lock, others by a claim.

The claim is an empty volume of the engine, one for each project, and names who is active. Nothing there says whether
that one still lives, and a state directory may be lost, so the newest wins: it takes the claim over, says so, and the
one before yields as soon as it looks.
"""

import asyncio
from collections.abc import Callable
from typing import Self

import structlog

from mso.backplane import BackplaneError
from mso.backplane.containers import Json
from mso.backplane.docker_engine import Engine, RefusedError, UnusableError
from mso.backplane.lease import FileLease, LeaseLostError
from mso.patience import pauses

log = structlog.get_logger()

LOOK_SECONDS = 5.0
"""Between two looks at the claim."""
CALL_SECONDS = 20.0

_HOLDER = "mso/holder"


class DockerLease:
    """See mso.backplane.lease.Lease. `file` is the one of the state directory."""

    def __init__(self, file: FileLease, engine: Engine, project: str) -> None:
        self._file = file
        self._engine = engine
        self._name = claim_name(project)
        self._project = project
        self._reminded = False

    @property
    def identity(self) -> str:
        return self._file.identity

    @property
    def holder(self) -> str:
        return self._file.holder

    async def __aenter__(self) -> Self:
        await self._file.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """The claim stays: whoever comes next takes it over."""
        await self._file.__aexit__(*exc_info)

    async def acquire(self, waiting: Callable[[str], None]) -> None:
        await self._file.acquire(waiting)
        for pause in pauses(cap=LOOK_SECONDS):
            try:
                if await self._claim():
                    return
            except UnusableError:
                raise
            except BackplaneError as error:
                self._has_trouble(error)
            await asyncio.sleep(pause)

    async def keep(self) -> None:
        """Look at the claim from time to time; an engine that is away takes it from nobody."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                holder = await claimant(self._engine, self._project)
                if not holder:  # somebody deleted it
                    await self._claim()
            except BackplaneError as error:
                self._has_trouble(error)
            else:
                self._is_well()
                if holder not in ("", self.identity):
                    raise LeaseLostError(holder)

    async def confirm(self) -> None:
        """Returns at once: where two have one project the older one yields when it looks, and not before."""

    async def _claim(self) -> bool:
        """Whether it is ours now; not if somebody else claims it at the same time. Raises BackplaneError."""
        before = await claimant(self._engine, self._project)
        if before == self.identity:
            return True
        if before:
            await self._engine.call(lambda client: client.remove_volume(self._name), seconds=CALL_SECONDS)
        labels = {_HOLDER: self.identity, "mso/claim": self._project}
        # Of a volume that is there already the engine answers with the labels that it has.
        made: Json = await self._engine.call(
            lambda client: client.create_volume(name=self._name, labels=labels), seconds=CALL_SECONDS
        )
        if (made.get("Labels") or {}).get(_HOLDER) != self.identity:
            return False
        self._is_well()
        if before:
            log.info("docker.project_taken_over", project=self._project, holder_before=before)
        return True

    def _has_trouble(self, error: BackplaneError) -> None:
        if not self._reminded:
            self._reminded = True
            log.warning("lease.trouble", why=str(error), host=str(self._engine.address), holder=self.holder)

    def _is_well(self) -> None:
        if self._reminded:
            self._reminded = False
            log.info("lease.well_again", host=str(self._engine.address), holder=self.holder)


def claim_name(project: str) -> str:
    """Of the volume. It is without the labels of a project: it is of no run, and is to outlive them all."""
    return f"{project}-claim"


async def claimant(engine: Engine, project: str) -> str:
    """Who was the last to claim it; empty if nobody did. Raises BackplaneError."""
    try:
        claim: Json = await engine.call(lambda client: client.inspect_volume(claim_name(project)), seconds=CALL_SECONDS)
    except RefusedError as no:
        if no.status == 404:
            return ""
        raise
    return str((claim.get("Labels") or {}).get(_HOLDER, "unknown"))
