"""The Kubernetes API as MSO uses it: JSON and bytes over HTTP. Every call has a time limit, every error is one of ours.

Of the official client only configuration and credentials are used: its model classes cost milliseconds a pod, what it
does around a call costs half as much as the call (fault K6), and it waits for five minutes unless told otherwise (fault
K4). `kubernetes` is named here only.

Credentials are read anew every minute, and at once when the API answers 401: a bound token is replaced while we run,
and a client that goes on with the old one is locked out for ever (fault K5).
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
import structlog
from kubernetes.aio import config as loaders
from kubernetes.aio.client import Configuration

from mso.backplane import BackplaneError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts the credentials of a pod."""
CALL_SECONDS = 20.0
"""For a whole call. An API server under load may need some of it; one that hangs must not cost more."""
CREDENTIALS_SECONDS = 60.0
USER_AGENT = "mso"
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

_UNAUTHORIZED = 401
_PIECE_BYTES = 1 << 21
"""How much of an answer may wait to be read: a line of a watch, at most."""

log = structlog.get_logger()

Json = dict[str, Any]


class RefusedError(BackplaneError):
    """The API answered, and the answer is no."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        """The machine's word for it, such as `AlreadyExists`; may be empty."""
        self.retry_after = retry_after


class UnreachableError(BackplaneError):
    """No answer came: what was asked for may have been done or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach the API: a token, else the service account of the pod that this is, else a kubeconfig."""

    token: str = field(default="", repr=False)
    host: str = ""
    port: int = 443
    ca_file: Path | None = None
    ca_data: str = field(default="", repr=False)
    """Certificates as PEM text."""
    verify_tls: bool = True
    service_account: Path = SERVICE_ACCOUNT
    kubeconfig: Path | None = None
    """None: where kubectl looks."""
    context: str = ""

    async def load(self) -> Configuration:
        """What the client needs, read anew. Raises BackplaneError, with what to do about it."""
        configuration = Configuration()
        try:
            if self.token:
                self._use_token(configuration)
            elif (self.service_account / "token").exists():
                loaders.incluster_config.InClusterConfigLoader(
                    str(self.service_account / "token"), str(self.service_account / "ca.crt"), try_refresh_token=False
                ).load_and_set(configuration)
            else:
                await loaders.load_kube_config(
                    str(self.kubeconfig) if self.kubeconfig else None,
                    self.context or None,
                    configuration,
                    persist_config=False,
                )
        except Exception as error:  # the client's reader of kubeconfigs raises whatever it stumbles over
            raise BackplaneError(
                f"no way to a cluster: {error}; set KUBERNETES_API_TOKEN and KUBERNETES_HOST, or KUBECONFIG, or run in "
                "a pod with a service account; or run models as processes of this machine: MSO_BACKPLANE=local"
            ) from error
        if token := configuration.api_key.get("BearerToken"):
            configuration.api_key["BearerToken"] = " ".join(token.split())  # files end in a line end, headers must not
        return configuration

    def _use_token(self, configuration: Configuration) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        configuration.host = f"https://{host}:{self.port}"
        configuration.api_key["BearerToken"] = f"Bearer {self.token}"
        configuration.ssl_ca_cert = str(self.ca_file) if self.ca_file else None
        configuration.ca_cert_data = self.ca_data or None
        configuration.verify_ssl = self.verify_tls


class _Question(NamedTuple):
    """One request, which may have to be asked twice."""

    method: str
    path: str
    timeout: aiohttp.ClientTimeout
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    headers: Mapping[str, str] | None = None


class KubernetesApi:
    """One client, open while `async with` lasts; `connections` is how many calls may be under way at once.

    `answered` is told the method of every request and the HTTP status of its answer, or that there was `none`.
    """

    def __init__(
        self, access: Access, connections: int, answered: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        self._access = access
        self._answered = answered
        self._connections = connections
        self._fresh_until = 0.0
        self._renewing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Connects to nothing yet. Raises BackplaneError when there are no credentials."""
        configuration = await self._access.load()
        if not configuration.verify_ssl:
            log.warning(
                "kubernetes.tls_not_verified",
                host=configuration.host,
                advice="whoever is in between can read every secret: set KUBERNETES_CA_FILE or KUBERNETES_CA_DATA",
            )
        try:
            tls = _tls(configuration)
        except OSError as error:
            raise BackplaneError(f"the certificates of the cluster or the client cannot be used: {error}") from error
        self._host: str = configuration.host
        self._server_name: str | None = configuration.tls_server_name
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=tls),
            headers={"Accept": JSON, "User-Agent": USER_AGENT},
            # Looked up once: left to itself the session asks a thread for it, at every request.
            proxy=configuration.proxy or _proxy_for(self._host),
            read_bufsize=_PIECE_BYTES,
        )
        self._use_credentials(configuration)
        self._fresh_until = time.monotonic() + CREDENTIALS_SECONDS
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    @property
    def host(self) -> str:
        return self._host

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = JSON,
        seconds: float = CALL_SECONDS,
        accept: str = JSON,
        read: Callable[[bytes], Json] = json.loads,
    ) -> Json:
        """One call, and the JSON of its answer, read by `read`. Raises RefusedError and UnreachableError."""
        # Packed, where it is long: to receive and decrypt a listing costs more than to unpack it.
        headers = {"Accept": accept, "Accept-Encoding": "gzip", "Content-Type": content_type}
        data = None if body is None else msgspec.json.encode(body)
        question = _Question(method, path, aiohttp.ClientTimeout(seconds), query, data, headers)
        async with self._answer(question) as answer:
            return parse(await answer.read(), read)

    async def about(self, *, seconds: float = CALL_SECONDS) -> tuple[Json, datetime | None]:
        """Which version it is, and what time it is there, if it says so. Raises RefusedError and UnreachableError."""
        question = _Question("GET", "/version", aiohttp.ClientTimeout(seconds))
        async with self._answer(question) as answer:
            return parse(await answer.read(), json.loads), _date(answer)

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], seconds: float | None = None, silence: float | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of an answer as they come, for `seconds` in all and with no pause longer than `silence`.

        Raises RefusedError and UnreachableError, also while the bytes are read.
        """
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CALL_SECONDS, sock_read=silence)
        headers = {"Accept-Encoding": "identity"}  # or somebody in between collects what there is to pack
        async with self._answer(_Question("GET", path, timeout, query, headers=headers)) as answer:
            yield answer.content.iter_any()

    @asynccontextmanager
    async def _answer(self, question: _Question) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            answer = await self._ask(question)
            if answer.status == _UNAUTHORIZED:
                answer.release()
                await self._renew(at_once=True)
                answer = await self._ask(question)
            async with answer:
                if answer.status >= 400:
                    raise _refusal(answer, await answer.read())
                yield answer
        except TimeoutError as error:
            raise UnreachableError(f"no answer from {self.host} in time: {question.method} {question.path}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"{self.host}: {str(error) or type(error).__name__}") from error

    async def _ask(self, question: _Question) -> aiohttp.ClientResponse:
        await self._renew()
        status = "none"
        try:
            answer = await self._session.request(
                question.method,
                self._host + question.path,
                params=question.query,
                data=question.body,
                headers=question.headers,
                timeout=question.timeout,
                server_hostname=self._server_name,
            )
            status = str(answer.status)
        finally:
            self._answered(question.method, status)
        return answer

    async def _renew(self, *, at_once: bool = False) -> None:
        """Read the credentials again if they are a minute old, or were refused."""
        if not at_once and time.monotonic() < self._fresh_until:
            return
        async with self._renewing:
            if not at_once and time.monotonic() < self._fresh_until:
                return
            self._fresh_until = time.monotonic() + CREDENTIALS_SECONDS
            try:
                fresh = await self._access.load()
            except BackplaneError as error:
                log.warning("kubernetes.credentials_unreadable", error=str(error))
                return
            self._use_credentials(fresh)

    def _use_credentials(self, configuration: Configuration) -> None:
        if token := configuration.api_key.get("BearerToken"):
            self._session.headers["Authorization"] = token


def parse(data: bytes, read: Callable[[bytes], Json]) -> Json:
    """One JSON object. Raises UnreachableError: whoever answered with something else is not the API."""
    try:
        parsed = read(data)
    except ValueError as error:
        raise UnreachableError(f"the answer is no JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise UnreachableError(f"the answer is no JSON object: {data[:100]!r}")
    return parsed


def _date(answer: aiohttp.ClientResponse) -> datetime | None:
    """The header that every server with a clock has to send, in whole seconds (RFC 9110, 6.6.1)."""
    try:
        return parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return None


def _tls(configuration: Configuration) -> ssl.SSLContext:
    """How the API is known, and how it knows us. Raises OSError."""
    tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
    # Authorities of clusters lack extensions that Python 3.13 began to insist on; chain and name are verified.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.cert_file:
        tls.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


def _proxy_for(url: str) -> str | None:
    """What the environment says, as for any program (HTTPS_PROXY, NO_PROXY)."""
    host = urlsplit(url).hostname or ""
    return None if proxy_bypass(host) else getproxies().get("https")


def _refusal(answer: aiohttp.ClientResponse, body: bytes) -> RefusedError:
    """The answer in the API's own words."""
    try:
        status = json.loads(body)
        reason, message = status.get("reason") or "", status.get("message") or ""
    except (ValueError, AttributeError):
        reason, message = "", body[:500].decode(errors="replace").strip()
    wait = answer.headers.get("Retry-After", "")
    return RefusedError(
        answer.status, reason, message or f"HTTP status {answer.status}", float(wait) if wait.isdecimal() else 0.0
    )
