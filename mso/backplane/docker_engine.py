"""The Docker engine, and the way to it: the official client, which is synchronous, in threads. Only here it is named.

- Every call has a time limit, and a thread and a client of its own: the client keeps its connections by the path that
  was asked for, and lets others close them meanwhile. To make one costs less than what it asks for.
- The threads are daemons: one that waits for an engine that is silent keeps no process from ending.
- What the client and the network raise becomes a BackplaneError here.
"""

import asyncio
import json
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import docker.auth
import docker.errors
import docker.tls
import docker.utils
import requests
import urllib3
from docker.api.client import APIClient
from docker.types import CancellableStream

from mso.backplane import BackplaneError
from mso.backplane.containers import Json

T = TypeVar("T")

CALL_SECONDS = 60.0
"""How long the engine may be silent in the middle of a call. To create many containers at once takes it a while."""
CONNECT_SECONDS = 5.0
PULL_SILENCE_SECONDS = 120.0
"""A pull of which nothing was heard for so long is dead."""
EVENTS_SILENCE_SECONDS = 300.0
"""The engine says nothing while nothing happens, so its events are asked for anew from time to time."""


class RefusedError(BackplaneError):
    """The engine answered, and its answer is no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def lacks_image(self) -> bool:
        return self.status == 404 and "no such image" in str(self).lower()


class UnusableError(BackplaneError):
    """The engine cannot be used as it is configured, now or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the engine is, as for the Docker command line; empty is its usual socket."""

    host: str = ""
    tls_verify: bool = False
    cert_path: str = ""

    def arguments(self) -> dict[str, Any]:
        """For the client. Raises DockerException for a certificate that is not there."""
        environment = {
            "DOCKER_HOST": self.host,
            "DOCKER_TLS_VERIFY": "1" if self.tls_verify else "",
            "DOCKER_CERT_PATH": self.cert_path,
        }
        given = {name: value for name, value in environment.items() if value}
        return dict(docker.utils.kwargs_from_env(environment=given))

    def __str__(self) -> str:
        return self.host or "unix:///var/run/docker.sock"


class Engine:
    """At most `concurrency` calls at once; streams are not counted."""

    def __init__(self, address: Address, concurrency: int = 32) -> None:
        self.address = address
        self._slots = asyncio.Semaphore(concurrency)
        self._version = ""
        """Of the API, once it is agreed upon."""

    async def call(self, act: Callable[[APIClient], T], *, seconds: float = CALL_SECONDS) -> T:
        """What `act` returns, in a thread. Raises RefusedError, UnusableError and BackplaneError."""
        async with self._slots:
            return await self._in_time(partial(self._with_client, act, seconds), 2 * seconds)

    async def probe(self, seconds: float) -> None:
        """Returns when the engine answers, without waiting for other calls. Raises BackplaneError."""
        await self._in_time(partial(self._with_client, lambda client: client.ping(), seconds), seconds)

    async def pull(self, image: str, progress: Callable[[str], None]) -> None:
        """Returns when the engine has it. `progress` is told the engine's own words, in a thread.

        Credentials are those of the Docker command line, read anew. Raises BackplaneError.
        """
        await _in_thread(partial(self._with_client, partial(_pull, image, progress), CALL_SECONDS))

    @asynccontextmanager
    async def events(self, filters: Mapping[str, list[str]]) -> AsyncIterator[AsyncIterator[Json]]:
        """What happens from now on; ends when the engine ends it, or nothing was heard for a long time.

        Raises BackplaneError.
        """
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[Json | BaseException | None] = asyncio.Queue()
        stream = _Stream()

        def read() -> None:
            outcome: BaseException | None = None
            try:
                self._with_client(partial(stream.read, filters, partial(_hand_over, loop, heard)), CALL_SECONDS)
            except BaseException as error:  # noqa: BLE001 - raised to whoever listens
                outcome = error
            _hand_over(loop, heard, outcome)

        threading.Thread(target=read, name="docker-events", daemon=True).start()
        try:
            began = await heard.get()
            if began is None or isinstance(began, BaseException):
                raise began or BackplaneError("the engine ended its events at once")
            yield _until_none(heard)
        finally:
            stream.close()

    async def _in_time(self, work: Callable[[], T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await _in_thread(work)
        except TimeoutError:
            raise BackplaneError(f"the engine at {self.address} does not answer") from None

    def _with_client(self, act: Callable[[APIClient], T], seconds: float) -> T:
        """In a thread."""
        with self._our_errors():
            client = APIClient(version=self._version or "auto", timeout=round(seconds), **self.address.arguments())
            try:
                self._version = client.api_version
                return act(client)
            finally:
                client.close()

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except docker.errors.APIError as error:
            status = error.status_code or 0
            if status == 400 and "client version" in str(error.explanation):
                self._version = ""  # another release of the engine has taken over
            raise RefusedError(status, str(error.explanation or error)) from error
        except (docker.errors.DockerException, docker.errors.TLSParameterError) as error:
            raise self._of_client(error) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, json.JSONDecodeError) as error:
            raise BackplaneError(f"the engine at {self.address} cannot be reached: {_root_of(error)}") from error

    def _of_client(self, error: Exception) -> BackplaneError:
        """What the client raises before it has got through: some of it nothing but another configuration can change."""
        root = _root_of(error)
        if isinstance(root, PermissionError):
            return UnusableError(
                f"the engine at {self.address} may not be used: {root.strerror}; "
                "this user has to be in the group of its socket"
            )
        if isinstance(root, requests.RequestException | urllib3.exceptions.HTTPError | OSError):
            return BackplaneError(f"the engine at {self.address} cannot be reached: {root}")
        return UnusableError(f"the engine at {self.address} cannot be used: {error}")


class _Stream:
    """The events of an engine, read in one thread and closed by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._open: CancellableStream[bytes] | None = None

    def read(self, filters: Mapping[str, list[str]], tell: Callable[[Json], None], client: APIClient) -> None:
        """Tell of an empty event first, when the engine has begun to speak."""
        with client.get(
            _url(client, "events"),
            params={"filters": json.dumps(filters)},
            stream=True,
            timeout=(CONNECT_SECONDS, EVENTS_SILENCE_SECONDS),
        ) as response:
            _raise_for_status(response)
            lines = CancellableStream(response.iter_lines(chunk_size=None), response)
            with self._lock:
                if self._closed:
                    return
                self._open = lines
            tell({})
            with suppress(requests.RequestException):  # silence, or the engine is gone: the next call tells which
                for line in lines:
                    if line:
                        tell(json.loads(line))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            # Where the thread has just ended there is nothing left to close.
            with suppress(OSError, AttributeError):
                if self._open:
                    self._open.close()


def create(client: APIClient, name: str, config: Json) -> str:
    """The id of a new container. The client's own ways of saying what it is to be know less than the engine."""
    made: Json = client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
    return str(made["Id"])


def _pull(image: str, progress: Callable[[str], None], client: APIClient) -> None:
    repository, tag = docker.utils.parse_repository_tag(image)
    registry, _ = docker.auth.resolve_repository_name(repository)
    header = docker.auth.get_config_header(client, registry)
    with client.post(
        _url(client, "images/create"),
        params={"fromImage": repository, "tag": tag or "latest"},
        headers={"X-Registry-Auth": header} if header else {},
        stream=True,
        timeout=(CONNECT_SECONDS, PULL_SILENCE_SECONDS),
    ) as response:
        _raise_for_status(response)
        for line in response.iter_lines():
            said = json.loads(line) if line else {}
            if error := said.get("error"):
                raise BackplaneError(error)
            progress(" ".join(filter(None, (said.get("id"), said.get("status"), said.get("progress")))))


def _url(client: APIClient, path: str) -> str:
    return f"{client.base_url}/v{client.api_version}/{path}"


def _raise_for_status(response: requests.Response) -> None:
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        docker.errors.create_api_error_from_http_exception(error)


def _root_of(error: BaseException) -> BaseException:
    """The innermost reason: the client wraps what the system said three times over."""
    reasons = [error]
    while inner := _reason_of(reasons[-1]):
        if inner in reasons:
            break
        reasons.append(inner)
    for reason in reasons:  # in their frames are sockets that the client could not connect, and does not close
        traceback.clear_frames(reason.__traceback__)
    return next((one for one in reversed(reasons) if isinstance(one, OSError) and one.strerror), reasons[-1])


def _reason_of(error: BaseException) -> BaseException | None:
    return error.__cause__ or error.__context__


async def _in_thread(work: Callable[[], T]) -> T:
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def succeed(result: T) -> None:
        if not outcome.done():
            outcome.set_result(result)

    def fail(error: BaseException) -> None:
        if not outcome.done():
            outcome.set_exception(error)

    def run() -> None:
        try:
            done = partial(succeed, work())
        except BaseException as error:  # noqa: BLE001 - raised to whoever waits
            done = partial(fail, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done)

    threading.Thread(target=run, name="docker-call", daemon=True).start()
    return await outcome


def _hand_over(loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[Any]", item: object) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody listens any more
        loop.call_soon_threadsafe(queue.put_nowait, item)


async def _until_none(heard: "asyncio.Queue[Json | BaseException | None]") -> AsyncIterator[Json]:
    while (item := await heard.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
