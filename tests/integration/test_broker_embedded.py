"""The embedded broker keeps the promises that the service builds on, and does not outlive its parent."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from mso.broker.embedded import EmbeddedBroker, EmbeddedBrokerError
from mso.broker.mqtt import Presence
from tests.mqtt import PATIENCE, connected, disconnected, receive, reconnected, refusal

pytestmark = pytest.mark.broker

PARENT = """
import asyncio, sys
from pathlib import Path
from mso.broker.embedded import EmbeddedBroker
async def live():
    async with EmbeddedBroker(Path(sys.argv[1])) as broker:
        print("started", flush=True)
        await asyncio.Event().wait()
asyncio.run(live())
"""


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker(tmp_path / "broker") as broker:
        yield broker


def command_lines() -> list[str]:
    """Of everything that runs below this process; what has just ended has none."""
    commands = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            commands.append(" ".join(child.cmdline()))
    return commands


async def retained(broker: EmbeddedBroker, topic: str) -> bytes:
    """What a client that comes now is told at once. One that is there as it is published is told as well, but live."""
    while True:
        async with connected(broker, "observer", filters=(topic,)) as observer:
            (message,) = await receive(observer)
        if message.retained:
            return message.payload


async def test_it_lets_in_who_knows_the_password_and_nobody_else(embedded: EmbeddedBroker) -> None:
    """The password that it made is needed, and stands in no log and on no command line."""
    async with connected(embedded):
        pass
    with capture_logs() as logs:
        told = await refusal(logs, embedded, password="guessed")
    assert "MQTT_PASSWORD" in told["advice"]
    commands = command_lines()
    assert any("nats-server" in command for command in commands)
    assert not any(embedded.password in text for text in (*commands, embedded.log_file.read_text(), repr(logs)))
    (config,) = embedded.log_file.parent.glob("*.conf")
    assert config.stat().st_mode & 0o077 == 0


async def test_it_keeps_messages_for_a_session_that_is_away(embedded: EmbeddedBroker) -> None:
    """A QoS 1 message waits for a client that is away, and one that was not acknowledged comes again."""
    async with connected(embedded, filters=("/in/+",)):
        pass
    async with connected(embedded, "so") as peer:
        await peer.publish("/in/sim.02-abc", b"while you were out")
    for redelivered in (False, True):
        async with connected(embedded, filters=("/in/+",)) as client:
            assert (await client.connected()).session_present
            (message,) = await receive(client)
            assert (message.topic, message.payload) == ("/in/sim.02-abc", b"while you were out")
            assert message.redelivered == redelivered


async def test_it_keeps_messages_over_a_restart_in_the_same_directory(tmp_path: Path) -> None:
    """What was acknowledged to the publisher is on disk."""
    async with EmbeddedBroker(tmp_path) as broker:
        async with connected(broker, filters=("/in/+",)):
            pass
        async with connected(broker, "so") as peer:
            await peer.publish("/in/sim-1", b"kept")
    async with EmbeddedBroker(tmp_path) as broker, connected(broker, filters=("/in/+",)) as client:
        (message,) = await receive(client)
        assert message.payload == b"kept"


async def test_it_carries_ten_megabytes(embedded: EmbeddedBroker) -> None:
    """A DeployModels of ten thousand models fits."""
    async with connected(embedded, filters=("/in/+",)) as client:
        await client.publish("/in/big", bytes(10_000_000))
        (message,) = await receive(client)
        assert len(message.payload) == 10_000_000


async def test_it_publishes_wills_and_retains(embedded: EmbeddedBroker) -> None:
    """Who comes later is told that somebody is online, or that he has left."""
    presence = Presence("/status/mso", b"online", b"offline")
    async with connected(embedded, wills=(presence,)):
        assert await retained(embedded, presence.topic) == b"online"
    assert await retained(embedded, presence.topic) == b"offline"


async def test_a_topic_with_white_space_costs_the_connection_and_no_more(embedded: EmbeddedBroker) -> None:
    """The one limit on names: nats-server hangs up on a topic with a space; the client comes back."""
    async with connected(embedded, filters=("/in/+",)) as client:
        before = await client.connected()
        sent = client.publish("/in/with space", b"")
        await disconnected(client)
        assert sent.exception() is not None
        await reconnected(client, before)
        for name in ("dots.and..dots", "é€😀", "*", "a>b", '"quoted"', "$"):
            await client.publish(f"/in/{name}", b"")
            (message,) = await receive(client)
            assert message.topic == f"/in/{name}"
            message.acknowledge()


async def test_a_subscription_that_is_refused_is_named(embedded: EmbeddedBroker) -> None:
    """A connection without one of its subscriptions is none: the log names the filter."""
    with capture_logs() as logs:
        told = await refusal(logs, embedded, filters=("/in/+", "/in/with space/+"))
    assert "/in/with space/+" in told["reason"]
    assert "/in/+" not in told["reason"]


async def test_it_is_gone_when_its_parent_was_killed(tmp_path: Path) -> None:
    """kill -9 of the parent ends the broker and everything between the two."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout
    try:
        async with asyncio.timeout(PATIENCE):
            await parent.stdout.readuntil(b"started\n")
        children = psutil.Process(parent.pid).children(recursive=True)
        assert "nats-server" in {child.name() for child in children}
    finally:
        parent.kill()
        await parent.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, PATIENCE)
    assert not alive


async def test_leaving_ends_it_and_removes_what_was_temporary() -> None:
    """Without a directory of its own it leaves nothing: no process, no file."""
    before = set(psutil.Process().children(recursive=True))
    async with EmbeddedBroker() as broker:
        directory = broker.log_file.parent
        children = set(psutil.Process().children(recursive=True)) - before
        assert children
        assert directory.is_dir()
    assert not directory.exists()
    _, alive = psutil.wait_procs(children, PATIENCE)
    assert not alive


async def test_why_it_did_not_start_is_told(tmp_path: Path) -> None:
    """The error carries the last lines of the server's log."""
    (tmp_path / "jetstream").write_text("a file where a directory should be")
    with pytest.raises(EmbeddedBrokerError, match="storage directory is not a directory"):
        async with EmbeddedBroker(tmp_path):
            pass
