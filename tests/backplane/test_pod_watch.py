"""Following pods: what watches and listings say, and what they leave out."""

import asyncio

import pytest
from structlog.testing import capture_logs

from mso.backplane import Listed, Observation
from mso.model import Attempt, End, Failed, Reason, Succeeded
from tests.backplane.api_server import ApiServer, cut, hang, refusing, saying
from tests.backplane.scripted_api import PATIENCE_SECONDS, Namespace, bookmark, event, gone, listening
from tests.backplane.seen import over, pod, running
from tests.builders import attempt, model

RUNNING = {"phase": "Running", "containerStatuses": [running()]}


@pytest.fixture
def namespace(server: ApiServer) -> Namespace:
    """What the server answers from."""
    namespace = Namespace(watches=[hang])
    server.answer = namespace.answer
    return namespace


async def test_a_watch_goes_on_from_the_version_of_the_listing(server: ApiServer, namespace: Namespace) -> None:
    """And a listing names no version: then the API answers with nothing that is stale."""
    namespace.put(pod(version="90", status=RUNNING))
    namespace.watches = [saying(event("MODIFIED", pod(version="101", status=over(0))), then=hang)]
    async with listening(server) as listener:
        assert await listener.listed() == {attempt()}
        assert isinstance(await listener.end(attempt()), Succeeded)
        assert (listener.asked("list"), listener.asked("watch")) == ([""], ["100"])


async def test_a_watch_that_just_ends_goes_on_at_once_from_the_last_version(
    server: ApiServer, namespace: Namespace
) -> None:
    """A busy API server does that in the middle of a burst: no new listing, no word in the log, no pause (fault K2)."""
    namespace.put(pod(version="90", status=RUNNING))
    namespace.watches = [
        saying(event("MODIFIED", pod(version="101", status=RUNNING))),
        saying(bookmark(107)),
        saying(),
        saying(event("MODIFIED", pod(version="110", status=over(3))), then=hang),
    ]
    with capture_logs() as logs:
        async with listening(server) as listener:
            end = await listener.end(attempt())
            assert isinstance(end, Failed)
            assert (listener.asked("list"), listener.asked("watch")) == ([""], ["100", "101", "107", "107"])
    assert logs == []


@pytest.mark.parametrize("how", ("status", "event"))
async def test_an_expired_version_is_answered_with_a_new_listing(
    server: ApiServer, namespace: Namespace, how: str
) -> None:
    """410, as a status or in the stream: what went meanwhile is missing from the listing, what ended is in it (K2)."""
    other = pod(model("other"), uid="uid-2", version="91", status=RUNNING)
    namespace.put(pod(version="90", status=RUNNING), other)
    expired = refusing(410, gone()) if how == "status" else saying(event("ERROR", gone()))
    namespace.watches = [expired, hang]
    async with listening(server) as listener:
        assert await listener.listed() == {attempt(), attempt("other")}
        namespace.version = 200
        namespace.pods.clear()
        namespace.put(pod(version="150", status=over(0)))
        assert isinstance(await listener.end(attempt()), Succeeded)
        assert await listener.listed() == {attempt()}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(listener.asked("watch")) < 2:
                await asyncio.sleep(0.01)
        assert listener.asked("watch") == ["100", "200"]


async def test_an_end_is_told_once_however_often_it_is_seen(server: ApiServer, namespace: Namespace) -> None:
    """A replay of old events says nothing new (fault K2)."""
    namespace.put(pod(version="90", status=RUNNING))
    dead = event("MODIFIED", pod(version="101", status=over(1)))
    alive = event("MODIFIED", pod(version="95", status=RUNNING))
    last = event("ADDED", pod(model("last"), uid="uid-9", version="103", status=RUNNING))
    namespace.watches = [saying(dead, dead, alive, dead, last, then=hang)]
    said = []
    async with listening(server) as listener:
        await listener.listed()

        def note(one: object) -> bool:
            said.append(getattr(one, "attempt", None))
            return said[-1] == attempt("last")

        await listener.until(note)
    assert said == [attempt(), attempt("last")]


async def test_a_silent_watch_is_given_up(
    server: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stands and nothing comes: it is made anew, and told of (fault K3)."""
    monkeypatch.setattr("mso.backplane.pod_watch.SILENCE_SECONDS", 0.2)
    namespace.put(pod(version="90", status=RUNNING))
    namespace.watches = [
        saying(bookmark(105), then=hang),
        saying(event("MODIFIED", pod(version="106", status=over(0))), then=hang),
    ]
    with capture_logs() as logs:
        async with listening(server) as listener:
            assert isinstance(await listener.end(attempt()), Succeeded)
            assert listener.asked("watch")[:2] == ["100", "105"]
    assert logs[0]["event"] == "kubernetes.trouble"


async def test_whatever_the_watch_does_there_is_a_listing_in_time(server: ApiServer, namespace: Namespace) -> None:
    """Watching is for speed, listing is for truth (fault K3)."""
    namespace.put(pod(version="90", status=RUNNING))
    async with listening(server, resync_seconds=0.1) as listener:
        await listener.listed()
        namespace.put(pod(version="150", status=over(0)))
        assert isinstance(await listener.end(attempt()), Succeeded)


async def test_trouble_is_waited_out_and_said_once(
    server: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut connections, errors, garbage: the first is told, then that all is well again (fault K1)."""
    monkeypatch.setattr("mso.backplane.perseverance.PAUSE_CAP_SECONDS", 0.01)
    namespace.put(pod(version="90", status=RUNNING))
    namespace.listings = [cut, refusing(500, "ouch"), refusing(200, "<html>"), refusing(503, {"message": "busy"})]
    with capture_logs() as logs:
        async with listening(server) as listener:
            assert await listener.listed() == {attempt()}
    assert [entry["event"] for entry in logs] == ["kubernetes.trouble", "kubernetes.well_again"]


async def test_a_listing_that_breaks_off_is_no_listing(server: ApiServer, namespace: Namespace) -> None:
    """What its later pages would have shown is not missing."""
    namespace.put(pod(version="90", status=RUNNING), pod(model("other"), uid="uid-2", version="91", status=RUNNING))

    async with listening(server, resync_seconds=0.05) as listener:
        assert len(await listener.listed()) == 2
        first_page = {"metadata": {"resourceVersion": "100", "continue": "1"}, "items": []}
        namespace.listings = [refusing(200, first_page), refusing(410, gone())]
        for _ in range(3):
            said = await listener.until(lambda one: isinstance(one, Listed))
            assert isinstance(said, Listed)
            assert len(said.present) == 2


async def test_pages_make_one_listing(server: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr("mso.backplane.pod_watch.PAGE", 2)
    names = [f"m-{number}" for number in range(5)]
    namespace.put(*(pod(model(name), uid=name, version="9", status=RUNNING) for name in names))
    async with listening(server) as listener:
        assert await listener.listed() == {attempt(name) for name in names}
        assert len(listener.asked("list")) == 3


async def test_what_is_known_is_not_read_again(server: ApiServer, namespace: Namespace) -> None:
    """Most of a listing is: then its versions will do (fault K6)."""
    namespace.put(*(pod(model(name), uid=name, version="9", status=RUNNING) for name in "abc"))
    async with listening(server, resync_seconds=0.02) as listener:
        for _ in range(4):
            assert await listener.listed() == {attempt(name) for name in "abc"}
        assert listener.pages()[:4] == ["whole", "versions", "versions", "versions"]


async def test_a_page_with_news_is_read_whole(
    server: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is new, changed or gone is noticed without the watch, and no other page is asked for again."""
    monkeypatch.setattr("mso.backplane.pod_watch.PAGE", 1)
    namespace.put(*(pod(model(name), uid=name, version="9", status=RUNNING) for name in "abc"))
    async with listening(server, resync_seconds=0.02) as listener:
        assert len(await listener.listed()) == 3
        assert listener.pages()[:3] == ["whole"] * 3
        namespace.put(pod(model("b"), uid="b", version="105", status=over(0)))
        assert isinstance(await listener.end(attempt("b")), Succeeded)
        namespace.put(pod(model("d"), uid="d", version="106", status=RUNNING))
        await listener.until(lambda said: isinstance(said, Listed) and len(said.present) == 4)
        namespace.version = 110
        namespace.pods = {name: one for name, one in namespace.pods.items() if one["metadata"]["uid"] in "bd"}
        await listener.until(lambda said: isinstance(said, Listed) and said.present == {attempt("b"), attempt("d")})
        assert listener.pages().count("whole") == 5


async def test_a_pod_that_is_deleted_is_told_as_it_was_last(server: ApiServer, namespace: Namespace) -> None:
    """Deleted while it ran it has failed; deleted after it had succeeded it stays so (fault P1)."""
    well = pod(model("well"), uid="uid-2", version="91", status=over(0))
    namespace.put(pod(version="90", status=RUNNING), well)
    namespace.watches = [
        saying(
            event("DELETED", {**well, "metadata": {**well["metadata"], "resourceVersion": "101"}}),
            event("DELETED", pod(version="102", status=RUNNING)),
            then=hang,
        )
    ]
    async with listening(server) as listener:
        ends: dict[Attempt, End] = {}
        while len(ends) < 2:
            said = await listener.until(lambda one: isinstance(one, Observation) and one.end)
            if isinstance(said, Observation) and said.end:
                ends[said.attempt] = said.end
    assert isinstance(ends[attempt("well")], Succeeded)
    killed = ends[attempt()]
    assert isinstance(killed, Failed)
    assert killed.reason is Reason.POD_DELETED


async def test_pods_that_are_not_ours_are_not_told(server: ApiServer, namespace: Namespace) -> None:
    """Our selector is asked for, and what carries our label by mistake is left out (fault K8)."""
    stranger = {"metadata": {"name": "x", "uid": "x", "resourceVersion": "1", "labels": None}, "spec": {}, "status": {}}
    namespace.pods["x"] = stranger
    namespace.put(pod(version="90", status=RUNNING))
    namespace.watches = [saying(event("ADDED", stranger), event("DELETED", stranger), then=hang)]
    async with listening(server) as listener:
        assert await listener.listed() == {attempt()}
    selectors = {heard.query.get("labelSelector") for heard in server.heard if heard.method == "GET"}
    assert selectors == {"app.kubernetes.io/managed-by=mso"}


async def test_a_bug_ends_the_watch(server: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unknown error is not waited out: it is raised where the watch is read."""

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    namespace.put(pod(version="90", status=RUNNING))
    monkeypatch.setattr("mso.backplane.roster.standing_of", broken)
    async with listening(server) as listener:
        with pytest.raises(KeyError, match="a bug"):
            await listener.listed()
