"""Who MSO is to the API: where its credentials come from, how they are renewed, and that nobody hears of them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mso.backplane import BackplaneError
from mso.backplane.kubernetes_api import Access, KubernetesApi, RefusedError, UnreachableError
from tests.backplane.api_server import ApiServer, asking_for, hang, refusing
from tests.mosquitto import free_port

FIRST, SECOND = "canary-7f3a-first", "canary-7f3a-second"
CANARY = "canary-7f3a"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have a cluster, and may be a pod."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)


def token_file(directory: Path, token: str = FIRST) -> Path:
    path = directory / "token"
    path.write_text(token)
    return path


def kubeconfig_with_file(server: ApiServer, tmp_path: Path) -> Access:
    """A kubeconfig of which the token is in a file of its own."""
    token_file(tmp_path)
    return Access(kubeconfig=server.kubeconfig(tmp_path, tokenFile="token"), service_account=tmp_path / "nowhere")


def service_account(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Access:
    """What a pod finds."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    token_file(tmp_path)
    (tmp_path / "ca.crt").write_text(server.ca_file.read_text())
    return Access(service_account=tmp_path)


@pytest.fixture(params=("kubeconfig", "service account"))
def access(
    request: pytest.FixtureRequest, server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Access:
    """One of the two whose token is in a file, which is replaced while we run."""
    if request.param == "kubeconfig":
        return kubeconfig_with_file(server, tmp_path)
    return service_account(server, tmp_path, monkeypatch)


# -- renewed ----------------------------------------------------------------------------------------------------------


async def test_a_token_that_is_replaced_is_read_again_at_once(
    server: ApiServer, access: Access, tmp_path: Path
) -> None:
    """The call that was refused is repeated, and whoever asked for it has noticed nothing (fault K5)."""
    server.answer = asking_for(FIRST)
    async with KubernetesApi(access, 4) as api:
        await api.call("GET", "/pods")
        server.answer = asking_for(SECOND)
        token_file(tmp_path, SECOND)
        await api.call("POST", "/pods", body={"a": 1})
        await api.call("GET", "/pods")
    assert [heard.token for heard in server.heard] == [FIRST, FIRST, SECOND, SECOND]
    assert [json.loads(heard.body) for heard in server.heard[1:3]] == [{"a": 1}] * 2


async def test_a_stream_that_is_refused_is_opened_again_with_the_new_token(
    server: ApiServer, access: Access, tmp_path: Path
) -> None:
    """A watch is no exception (fault K5)."""
    async with KubernetesApi(access, 4) as api:
        server.answer = asking_for(SECOND)
        token_file(tmp_path, SECOND)
        async with api.stream("/pods", query={}, silence=5) as chunks:
            assert b"".join([chunk async for chunk in chunks])


async def test_many_calls_that_are_refused_at_once_all_recover(
    server: ApiServer, access: Access, tmp_path: Path
) -> None:
    """The token is replaced in the middle of a burst."""
    server.answer = asking_for(FIRST)
    async with KubernetesApi(access, 8) as api:
        await api.call("GET", "/pods")
        server.answer = asking_for(SECOND)
        token_file(tmp_path, SECOND)
        await asyncio.gather(*(api.call("GET", "/pods") for _ in range(50)))


async def test_a_token_is_read_again_from_time_to_time(
    server: ApiServer, access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nobody refuses it: the old one will expire (fault K5)."""
    for seconds in (60.0, 0.0):
        monkeypatch.setattr("mso.backplane.kubernetes_api.CREDENTIALS_SECONDS", seconds)
        token_file(tmp_path, FIRST)
        async with KubernetesApi(access, 4) as api:
            await api.call("GET", "/pods")
            token_file(tmp_path, SECOND)
            await api.call("GET", "/pods")
    assert [heard.token for heard in server.heard] == [FIRST, FIRST, FIRST, SECOND]


async def test_a_token_that_stays_refused_is_a_refusal(server: ApiServer, access: Access) -> None:
    """It is tried twice and not for ever: whoever called decides what follows."""
    server.answer = asking_for(SECOND)
    async with KubernetesApi(access, 4) as api:
        with pytest.raises(RefusedError) as refused:
            await api.call("GET", "/pods")
    assert (refused.value.status, refused.value.reason, str(refused.value)) == (401, "Unauthorized", "Unauthorized")
    assert len(server.heard) == 2


async def test_credentials_that_cannot_be_read_just_now_are_those_of_before(
    server: ApiServer, access: Access, tmp_path: Path
) -> None:
    """A file that is being replaced is no reason to end: that is said, and the next time it is read again."""
    async with KubernetesApi(access, 4) as api:
        server.answer = asking_for(SECOND)
        (tmp_path / "token").unlink()
        with capture_logs() as logs:
            with pytest.raises(RefusedError):
                await api.call("GET", "/pods")
        token_file(tmp_path, SECOND)
        await api.call("GET", "/pods")
    assert [(told["event"], told["log_level"]) for told in logs] == [("kubernetes.credentials_unreadable", "warning")]
    assert CANARY not in repr(logs)


@pytest.mark.parametrize("half", ("", "apiVersion: v1\nclusters:\n- {name: he"))
async def test_a_kubeconfig_that_is_just_being_written_is_that_of_before(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    """It is read again in the middle of that: the service goes on."""
    monkeypatch.setattr("mso.backplane.kubernetes_api.CREDENTIALS_SECONDS", 0.0)
    kubeconfig = server.kubeconfig(tmp_path, token=FIRST)
    async with KubernetesApi(Access(kubeconfig=kubeconfig, service_account=tmp_path / "nowhere"), 4) as api:
        kubeconfig.write_text(half)
        await api.call("GET", "/pods")
    assert server.heard[0].token == FIRST


@pytest.mark.parametrize("end", ("\n", "\r\n", " \n"))
async def test_the_end_of_the_line_is_no_part_of_a_token(
    server: ApiServer, access: Access, tmp_path: Path, end: str
) -> None:
    """Whoever writes the file by hand ends it with one, and kubectl does not mind."""
    token_file(tmp_path, FIRST + end)
    server.answer = asking_for(FIRST)
    async with KubernetesApi(access, 4) as api:
        await api.call("GET", "/pods")


# -- where from -------------------------------------------------------------------------------------------------------


async def test_a_token_wins_over_a_service_account_and_that_over_a_kubeconfig(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was set on purpose counts more than what is found."""
    kubeconfig = server.kubeconfig(tmp_path, token="of-the-kubeconfig")
    (tmp_path / "account").mkdir()
    account = service_account(server, tmp_path / "account", monkeypatch).service_account
    set_here = {"token": "set", "host": "127.0.0.1", "port": server.port, "ca_file": server.ca_file}
    found: list[dict[str, Any]] = [
        {"kubeconfig": kubeconfig, "service_account": account, **set_here},
        {"kubeconfig": kubeconfig, "service_account": account},
        {"kubeconfig": kubeconfig, "service_account": tmp_path / "nowhere"},
    ]
    for fields in found:
        async with KubernetesApi(Access(**fields), 4) as api:
            await api.call("GET", "/pods")
    assert [heard.token for heard in server.heard] == ["set", FIRST, "of-the-kubeconfig"]


async def test_a_context_chooses_the_cluster(server: ApiServer, tmp_path: Path) -> None:
    """The one that is named, else the current one; one that leads nowhere is an error."""
    kubeconfig = server.kubeconfig(tmp_path, token=FIRST)
    for context in ("", "here"):
        loaded = await Access(kubeconfig=kubeconfig, context=context, service_account=tmp_path / "nowhere").load()
        assert loaded.host == server.host
    for context in ("nowhere", "unheard-of"):
        with pytest.raises(BackplaneError, match=context):
            await Access(kubeconfig=kubeconfig, context=context, service_account=tmp_path / "nowhere").load()


@pytest.mark.parametrize(
    ("host", "url"),
    (
        ("10.0.0.1", "https://10.0.0.1:6443"),
        ("cluster.example", "https://cluster.example:6443"),
        ("2001:db8::1", "https://[2001:db8::1]:6443"),
    ),
)
async def test_a_host_is_an_address_or_a_name(host: str, url: str) -> None:
    """An address of IPv6 is told from a port."""
    assert (await Access(token=FIRST, host=host, port=6443).load()).host == url


async def test_without_any_access_it_is_said_what_to_set(tmp_path: Path) -> None:
    """Nobody has to read the code to find out."""
    access = Access(kubeconfig=tmp_path / "no-such-file", service_account=tmp_path / "nowhere")
    with pytest.raises(BackplaneError) as nothing:
        await KubernetesApi(access, 4).__aenter__()
    for variable in ("KUBERNETES_API_TOKEN", "KUBERNETES_HOST", "KUBECONFIG"):
        assert variable in str(nothing.value)


async def test_where_kubectl_finds_nothing_neither_do_we(tmp_path: Path) -> None:
    """No token, no pod, no kubeconfig at its usual place."""
    with pytest.raises(BackplaneError, match="KUBERNETES_API_TOKEN"):
        await Access(service_account=tmp_path / "nowhere").load()


@pytest.mark.parametrize(
    "content",
    ("", "{", "[]", "text", "{}", "apiVersion: v1\nkind: Config\n", "current-context: x\ncontexts: [1]\n", "\0"),
)
async def test_a_kubeconfig_that_is_none_is_an_error_of_ours(tmp_path: Path, content: str) -> None:
    """Whatever is wrong with it, it says what to do about it."""
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(BackplaneError, match="no way to a cluster"):
        await Access(kubeconfig=path, service_account=tmp_path / "nowhere").load()


@pytest.mark.parametrize("lacks", ("ca.crt", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "a token"))
async def test_a_service_account_that_is_not_whole_is_an_error_of_ours(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    """A pod that was told not to mount all of it."""
    access = service_account(server, tmp_path, monkeypatch)
    if lacks == "ca.crt":
        (tmp_path / "ca.crt").unlink()
    elif lacks == "a token":
        token_file(tmp_path, "")
    else:
        monkeypatch.delenv(lacks)
    with pytest.raises(BackplaneError, match="no way to a cluster"):
        await access.load()


# -- never told -------------------------------------------------------------------------------------------------------


async def test_a_token_is_told_to_nobody_but_the_api(server: ApiServer, tmp_path: Path) -> None:
    """Neither in the log, at whatever level, nor in an error, nor in what Python prints (fault B4)."""
    access = Access(
        token=FIRST, host="127.0.0.1", port=server.port, ca_file=server.ca_file, service_account=tmp_path / "nowhere"
    )
    said: list[object] = [access]
    with capture_logs() as logs:
        async with KubernetesApi(access, 4) as api:
            said += [api, api.host]
            for answer in (asking_for(SECOND), hang, refusing(500, f"you sent {len(FIRST)} bytes")):
                server.answer = answer
                with pytest.raises((RefusedError, UnreachableError)) as error:
                    await api.call("GET", "/pods", seconds=0.1)
                said += [error.value, error.value.__cause__]
        for broken in (
            Access(token=FIRST, host="127.0.0.1", port=free_port(), ca_data=server.ca_file.read_text()),
            Access(token=FIRST, host="127.0.0.1", port=server.port),
        ):
            said.append(broken)
            async with KubernetesApi(broken, 4) as api:
                with pytest.raises(UnreachableError) as error:
                    await api.call("GET", "/pods", seconds=5)
                said += [error.value, error.value.__cause__]
    told = "\n".join(f"{one} {one!r}" for one in (*said, *logs))
    assert CANARY not in told
    assert "BEGIN CERTIFICATE" not in told
