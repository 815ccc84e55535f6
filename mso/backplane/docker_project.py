"""What is asked of an engine about the containers of one project, and the volumes beside them: one call each.

Whatever does not carry the labels of the project is never read, changed or deleted (fault K8).
"""

from mso.backplane.containers import (
    Container,
    Json,
    Notes,
    container_name,
    notes_in,
    of_inspection,
    of_listing,
    of_run,
    ours,
)
from mso.backplane.docker_engine import Engine, RefusedError
from mso.model import Attempt, RunKey


class Project:
    """Every method raises BackplaneError."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    async def named(self, attempt: Attempt) -> Json | None:
        """What has the name of the attempt, whoever made it."""
        try:
            return await self.inspect(container_name(self.name, attempt))
        except RefusedError as no:
            if no.status == 404:
                return None
            raise

    async def find(self, attempt: Attempt) -> Container | None:
        """The container of the attempt."""
        inspected = await self.named(attempt)
        return of_inspection(inspected, self.name) if inspected else None

    async def inspect(self, container: str) -> Json:
        inspected: Json = await self._engine.call(lambda client: client.inspect_container(container))
        return inspected

    async def list(self, run: RunKey | None = None) -> list[Container]:
        """All there are, or those of a run."""
        selected = {"label": of_run(self.name, run) if run else ours(self.name)}
        summaries = await self._engine.call(lambda client: client.containers(all=True, filters=selected))
        return [one for summary in summaries if (one := of_listing(summary, self.name))]

    async def delete(self, container: str) -> None:
        """With its log and its nameless volumes. Absent, or on its way, is success."""
        try:
            await self._engine.call(lambda client: client.remove_container(container, v=True, force=True))
        except RefusedError as no:
            if no.status not in (404, 409):
                raise

    async def delete_unborn(self, container: str) -> bool:
        """Whether it is gone; one that has begun meanwhile has to end first."""
        try:
            await self._engine.call(lambda client: client.remove_container(container, v=True))
        except RefusedError as no:
            if no.status not in (404, 409):
                raise
            return no.status == 404
        return True

    async def note(self, volume: Json) -> None:
        """Make a volume of this name and these labels. The same once more changes nothing."""
        await self._engine.call(lambda client: client.create_volume(name=volume["Name"], labels=volume["Labels"]))

    async def notes(self, run: RunKey | None = None) -> Notes:
        """What the volumes say, all of them or those of a run."""
        selected = {"label": of_run(self.name, run) if run else ours(self.name)}
        found = await self._engine.call(lambda client: client.volumes(filters=selected))
        return notes_in(found["Volumes"] or ())

    async def forget(self, volume: str) -> None:
        """Absent is success."""
        try:
            await self._engine.call(lambda client: client.remove_volume(volume))
        except RefusedError as no:
            if no.status != 404:
                raise
