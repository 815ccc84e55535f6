"""The way to the API: against a real server on this machine that does what no server should."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from mso.backplane import BackplaneError
from mso.backplane.kubernetes_api import Access, KubernetesApi, RefusedError, UnreachableError
from tests.backplane.api_server import Answer, ApiServer, api_server, content, cut, hang, refusing, saying
from tests.mosquitto import Certificate, free_port, make_certificate

TOKEN = "canary-7f3a"


def opened(server: ApiServer, connections: int = 4, **fields: Any) -> KubernetesApi:
    values: dict[str, Any] = {"token": TOKEN, "host": "127.0.0.1", "port": server.port, "ca_file": server.ca_file}
    return KubernetesApi(Access(**(values | fields)), connections)


async def listen(api: KubernetesApi, seen: bytearray | None = None, **limits: float) -> bytes:
    """All that a stream says; `seen` has what came before it broke."""
    heard = bytearray() if seen is None else seen
    async with api.stream("/pods", query={"watch": "1"}, **limits) as chunks:
        async for chunk in chunks:
            heard += chunk
    return bytes(heard)


# -- what is asked ----------------------------------------------------------------------------------------------------


async def test_a_call_says_what_it_wants_and_who_asks(server: ApiServer) -> None:
    """Method, path, query, JSON, token and a name that is found in the audit log of the cluster."""
    async with opened(server) as api:
        answered = await api.call("GET", "/api/v1/namespaces/dots/pods", query={"labelSelector": "a=b,c=d é&"})
        await api.call("POST", "/pods", body={"kind": "Pod", "é": [1, None]})
        await api.call("PATCH", "/pods/a", body={"metadata": {}}, content_type="application/merge-patch+json")
        await api.call("DELETE", "/pods/a", body={"preconditions": {"uid": "u"}})
        assert api.host == server.host
    assert answered == {"kind": "Status", "status": "Success"}
    listing, create, patch, delete = server.heard
    assert (listing.method, listing.path) == ("GET", "/api/v1/namespaces/dots/pods")
    assert listing.query == {"labelSelector": "a=b,c=d é&"}
    assert (create.method, json.loads(create.body)) == ("POST", {"kind": "Pod", "é": [1, None]})
    assert create.headers["Content-Type"] == "application/json"
    assert (patch.headers["Content-Type"], json.loads(patch.body)) == ("application/merge-patch+json", {"metadata": {}})
    assert (delete.method, json.loads(delete.body)) == ("DELETE", {"preconditions": {"uid": "u"}})
    for heard in server.heard:
        assert heard.headers["Authorization"] == f"Bearer {TOKEN}"
        assert heard.headers["User-Agent"] == "mso"


async def test_a_long_answer_comes_packed(server: ApiServer) -> None:
    """A listing is ten times as long as it has to be."""
    pods = [{"name": "x" * 100}] * 1000

    async def packed(request: web.Request) -> web.StreamResponse:
        answer = web.json_response({"items": pods})
        answer.enable_compression()  # if that is accepted
        return answer

    server.answer = packed
    async with opened(server) as api:
        assert await api.call("GET", "/pods") == {"items": pods}
    assert server.heard[0].headers["Accept-Encoding"] == "gzip"


async def test_nobody_packs_a_stream(server: ApiServer) -> None:
    """Or who is in between waits for more to pack, and an event is late."""
    server.answer = saying(b"x")
    async with opened(server) as api:
        await listen(api, silence=10)
    assert server.heard[0].headers["Accept-Encoding"] == "identity"


async def test_opening_connects_to_nothing() -> None:
    """An API that is not there yet is no reason not to start."""
    async with KubernetesApi(Access(token=TOKEN, host="127.0.0.1", port=free_port()), 4):
        pass


# -- what is refused --------------------------------------------------------------------------------------------------

QUOTA = 'pods "m" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=5, limited: pods=5'


@pytest.mark.parametrize(
    ("status", "body", "reason", "message"),
    (
        (403, {"kind": "Status", "reason": "Forbidden", "message": QUOTA, "code": 403}, "Forbidden", QUOTA),
        (
            409,
            {"reason": "AlreadyExists", "message": 'pods "m" already exists'},
            "AlreadyExists",
            'pods "m" already exists',
        ),
        (422, {"message": "spec.containers: Required value"}, "", "spec.containers: Required value"),
        (500, {"reason": None, "message": None}, "", "HTTP status 500"),
        (503, "upstream connect error\n", "", "upstream connect error"),
        (502, "<html>Bad Gateway</html>", "", "<html>Bad Gateway</html>"),
        (504, "", "", "HTTP status 504"),
        (500, b"\xff\xfe", "", "\ufffd\ufffd"),
        (500, "[]", "", "[]"),
        (500, '"no"', "", '"no"'),
        (404, "404 page not found", "", "404 page not found"),
    ),
)
async def test_a_refusal_is_told_in_the_words_of_who_refuses(
    server: ApiServer, status: int, body: Any, reason: str, message: str
) -> None:
    """A Status of the API, or whatever a proxy before it has to say."""
    server.answer = refusing(status, body)
    async with opened(server) as api:
        with pytest.raises(RefusedError) as refused:
            await api.call("GET", "/pods")
    assert (refused.value.status, refused.value.reason, str(refused.value)) == (status, reason, message)
    assert refused.value.retry_after == 0
    assert len(server.heard) == 1


async def test_endless_words_of_a_proxy_are_cut(server: ApiServer) -> None:
    """A page of HTML goes into a log and over the wire: its beginning says enough."""
    server.answer = refusing(502, "x" * 1_000_000)
    async with opened(server) as api:
        with pytest.raises(RefusedError) as refused:
            await api.call("GET", "/pods")
    assert len(str(refused.value)) == 500


@pytest.mark.parametrize(
    ("text", "seconds"), (("1", 1.0), ("120", 120.0), ("", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("-1", 0.0))
)
async def test_what_the_api_asks_us_to_wait_is_heard(server: ApiServer, text: str, seconds: float) -> None:
    """Seconds, as the API server writes them; nothing is made of what is none (fault D5)."""
    server.answer = refusing(429, {"reason": "TooManyRequests", "message": "later"}, Retry_After=text)
    async with opened(server) as api:
        with pytest.raises(RefusedError) as refused:
            await api.call("POST", "/pods", body={})
    assert (refused.value.status, refused.value.retry_after) == (429, seconds)
    assert len(server.heard) == 1, "who calls decides what is tried again"


async def test_every_answer_is_counted_by_its_status(server: ApiServer) -> None:
    """A refusal as well; and where no answer comes, that."""
    answers: list[tuple[str, str]] = []
    access = Access(token=TOKEN, host="127.0.0.1", port=server.port, verify_tls=False)
    async with KubernetesApi(access, 4, lambda *answer: answers.append(answer)) as api:
        await api.call("GET", "/pods")
        server.answer = refusing(429, {"reason": "TooManyRequests", "message": "later"})
        with pytest.raises(RefusedError):
            await api.call("POST", "/pods", body={})
    async with KubernetesApi(replace(access, port=free_port()), 4, lambda *answer: answers.append(answer)) as api:
        with pytest.raises(UnreachableError):
            await api.call("GET", "/pods")
    assert answers == [("GET", "200"), ("POST", "429"), ("GET", "none")]


# -- who does not answer ----------------------------------------------------------------------------------------------


async def test_a_server_that_hangs_costs_no_more_than_the_limit(server: ApiServer) -> None:
    """It accepted, and never answers (fault K4)."""
    server.answer = hang
    async with opened(server) as api:
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="no answer"):
            await api.call("POST", "/pods", body={}, seconds=0.2)
    assert 0.1 < time.monotonic() - began < 5


async def test_a_call_that_hangs_delays_no_other(server: ApiServer) -> None:
    """Each has its own time (fault K4)."""

    async def hang_on_creates(request: web.Request) -> web.StreamResponse:
        return await (hang(request) if request.method == "POST" else refusing(200, {})(request))

    server.answer = hang_on_creates
    async with opened(server, connections=2) as api:
        hanging = asyncio.create_task(api.call("POST", "/pods", body={}))
        for _ in range(5):
            assert await api.call("GET", "/pods", seconds=10) == {}
        assert not hanging.done()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging


@pytest.mark.parametrize("rest", (saying(b'{"items": [', then=hang), saying(*[b" "] * 500)), ids=("stops", "trickles"))
async def test_a_body_that_does_not_end_costs_no_more_than_the_limit(server: ApiServer, rest: Answer) -> None:
    """The limit is that of the whole call, and not of its first byte nor of any pause."""
    server.answer = rest
    async with opened(server) as api:
        with pytest.raises(UnreachableError, match="no answer"):
            await api.call("GET", "/pods", seconds=0.3)


@pytest.mark.parametrize("answer", (cut, saying(b'{"items": [', then=cut)), ids=("at once", "in the middle"))
async def test_a_connection_that_is_cut_is_no_answer(server: ApiServer, answer: Answer) -> None:
    """What was asked for may have been done or not."""
    server.answer = answer
    async with opened(server) as api:
        with pytest.raises(UnreachableError, match=f"127.0.0.1:{server.port}"):
            await api.call("POST", "/pods", body={})


async def test_nobody_there_is_no_answer(api_certificate: Certificate) -> None:
    """The address is named."""
    port = free_port()
    async with KubernetesApi(
        Access(token=TOKEN, host="127.0.0.1", port=port, ca_file=api_certificate.certificate), 4
    ) as api:
        with pytest.raises(UnreachableError, match=f"127.0.0.1:{port}"):
            await api.call("GET", "/pods")


@pytest.mark.parametrize(
    "body", ("<html>Welcome to the hotel</html>", '{"items": [', "", b"\xff\xfe\xfa", "[]", "null", '"text"')
)
async def test_an_answer_that_is_no_json_is_none(server: ApiServer, body: str | bytes) -> None:
    """Somebody in between answered: that is trouble with the way, and no bug of ours."""
    server.answer = refusing(200, body)
    async with opened(server) as api:
        with pytest.raises(UnreachableError):
            await api.call("GET", "/pods")


# -- streams ----------------------------------------------------------------------------------------------------------


async def test_a_stream_comes_as_it_is_sent(server: ApiServer) -> None:
    """Bytes, as long as there are any; its query is sent, and its end is no error."""
    server.answer = saying(b'{"a": 1}\n{"b"', b": 2}\n", b"\xff\x00")
    async with opened(server) as api:
        assert await listen(api, silence=10) == b'{"a": 1}\n{"b": 2}\n\xff\x00'
    assert server.heard[0].query == {"watch": "1"}


async def test_a_stream_is_heard_before_it_ends(server: ApiServer) -> None:
    """An event is there when it is sent."""
    server.answer = saying(b"first\n", then=hang)
    async with opened(server) as api:
        async with api.stream("/pods", query={}, silence=10) as chunks:
            assert await anext(chunks) == b"first\n"


async def test_a_stream_that_goes_silent_is_given_up(server: ApiServer) -> None:
    """The connection is open, and nothing comes any more (fault K3)."""
    server.answer = saying(b"first\n", b"second\n", then=hang)
    seen = bytearray()
    async with opened(server) as api:
        with pytest.raises(UnreachableError, match="no answer"):
            await listen(api, seen, silence=0.3)
    assert seen == b"first\nsecond\n"


async def test_a_stream_that_speaks_now_and_then_goes_on(server: ApiServer) -> None:
    """Only silence is limited, not how long it lasts in all."""
    server.answer = saying(*[b"x"] * 30, pause=0.05)
    async with opened(server) as api:
        assert await listen(api, silence=1.0) == b"x" * 30


async def test_a_stream_may_be_limited_as_a_whole(server: ApiServer) -> None:
    """As that of a log, which may be endless."""
    server.answer = saying(*[b"x"] * 1000)
    async with opened(server) as api:
        with pytest.raises(UnreachableError, match="no answer"):
            await listen(api, seconds=0.2)


async def test_a_stream_that_is_cut_is_no_answer(server: ApiServer) -> None:
    """It did not end, it broke."""
    server.answer = saying(b"first\n", then=cut)
    seen = bytearray()
    async with opened(server) as api:
        with pytest.raises(UnreachableError):
            await listen(api, seen, silence=10)
    assert seen == b"first\n"


async def test_a_stream_that_is_refused_says_why(server: ApiServer) -> None:
    """An expired version, a pod that has not begun."""
    server.answer = refusing(410, {"reason": "Expired", "message": "too old resource version"})
    async with opened(server) as api:
        with pytest.raises(RefusedError, match="too old") as refused:
            await listen(api, silence=10)
    assert (refused.value.status, refused.value.reason) == (410, "Expired")


async def test_a_stream_that_nobody_reads_any_more_is_let_go(server: ApiServer) -> None:
    """Its connection is not kept from other calls."""
    server.answer = saying(b"first\n", then=hang)
    async with opened(server, connections=1) as api:
        async with api.stream("/pods", query={}, silence=10):
            pass
        server.answer = content
        await api.call("GET", "/pods", seconds=10)


# -- proxies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("HTTPS_PROXY", "https_proxy"))
async def test_a_proxy_is_used_where_the_environment_names_one(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As by any program; NO_PROXY says where it is not."""
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with opened(server) as api:
        await api.call("GET", "/pods")
    for exception in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(exception, "elsewhere.example")
    async with opened(server) as api:
        with pytest.raises(UnreachableError):
            await api.call("GET", "/pods")
    assert len(server.heard) == 1


# -- TLS --------------------------------------------------------------------------------------------------------------


async def test_the_certificate_of_an_impostor_is_refused(server: ApiServer, tmp_path: Path) -> None:
    """Nothing is said to it, and least of all the token (fault B4)."""
    other = make_certificate(tmp_path, "other")
    async with opened(server, ca_file=other.certificate) as api:
        with pytest.raises(UnreachableError, match=r"(?i)certificate"):
            await api.call("GET", "/pods")
    assert server.heard == []


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    """Whoever has one of the same authority is not the API yet (fault B4)."""
    other = make_certificate(tmp_path, "elsewhere", "DNS:elsewhere.example")
    async with api_server(other) as server, opened(server) as api:
        with pytest.raises(UnreachableError, match=r"(?i)certificate"):
            await api.call("GET", "/pods")
    assert server.heard == []


async def test_who_reaches_it_by_another_name_says_by_which_it_is_known(tmp_path: Path) -> None:
    """`tls-server-name` of a kubeconfig: as behind a tunnel."""
    known = make_certificate(tmp_path, "elsewhere", "DNS:elsewhere.example")
    async with api_server(known) as server:
        kubeconfig = server.kubeconfig(tmp_path, {"tls-server-name": "elsewhere.example"}, token=TOKEN)
        async with KubernetesApi(Access(kubeconfig=kubeconfig, service_account=tmp_path / "nowhere"), 4) as api:
            await api.call("GET", "/pods")


@pytest.mark.parametrize("has_one", (True, False))
async def test_we_may_be_known_by_a_certificate(
    api_certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_one: bool
) -> None:
    """As the kubeconfig of an administrator has it; there is no token then."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mine = make_certificate(tmp_path, "me")
    user: dict[str, Any] = (
        {"client-certificate": str(mine.certificate), "client-key": str(mine.key)} if has_one else {"token": TOKEN}
    )
    async with api_server(api_certificate, clients=mine) as server:
        kubeconfig = server.kubeconfig(tmp_path, **user)
        async with KubernetesApi(Access(kubeconfig=kubeconfig, service_account=tmp_path / "nowhere"), 4) as api:
            if has_one:
                await api.call("GET", "/pods")
                assert "Authorization" not in server.heard[0].headers
            else:
                with pytest.raises(UnreachableError):
                    await api.call("GET", "/pods")


async def test_an_authority_may_be_given_as_text(server: ApiServer) -> None:
    """PEM, as KUBERNETES_CA_DATA holds it."""
    async with opened(server, ca_file=None, ca_data=server.ca_file.read_text()) as api:
        with capture_logs() as logs:
            await api.call("GET", "/pods")
    assert logs == []


async def test_tls_that_is_not_verified_is_said_aloud(server: ApiServer) -> None:
    """It works, and whoever reads the log knows what it costs."""
    with capture_logs() as logs:
        async with opened(server, ca_file=None, verify_tls=False) as api:
            await api.call("GET", "/pods")
    (told,) = logs
    assert (told["event"], told["log_level"], told["host"]) == ("kubernetes.tls_not_verified", "warning", server.host)
    assert "KUBERNETES_CA_FILE" in told["advice"]


@pytest.mark.parametrize("where", ("ca_file", "ca_data"))
async def test_an_authority_that_is_none_is_an_error_of_ours(server: ApiServer, tmp_path: Path, where: str) -> None:
    """Whoever set it hears of it at the start, and sees no traceback."""
    path = tmp_path / "ca.crt"
    path.write_text("not a certificate\n")
    authority: dict[str, Any] = {"ca_file": path} if where == "ca_file" else {"ca_file": None, "ca_data": "no\n"}
    with pytest.raises(BackplaneError):
        await opened(server, **authority).__aenter__()
