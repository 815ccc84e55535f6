"""The session survives: brokers that die, hang, forget; clients that go and come back."""

import asyncio
import contextlib
import os
import resource
import threading
import time
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from mso.broker import ConnectionLost
from mso.broker.mqtt import MqttBroker
from tests.integration.conftest import StartMosquitto
from tests.mosquitto import Mosquitto
from tests.mqtt import PATIENCE, connected, disconnected, displace, receive, reconnected, settings

pytestmark = pytest.mark.broker

ORDERS = "/lifecycle/essim/mso/+/DeployModels"
ORDER = "/lifecycle/essim/mso/sim-1/DeployModels"


@pytest.mark.parametrize("persistence", (True, False))
async def test_it_hears_again_after_every_restart_of_the_broker(
    start_mosquitto: StartMosquitto, persistence: bool
) -> None:
    """A broker that is killed and started five times finds its client listening each time, whatever it remembers."""
    mosquitto = start_mosquitto(persistence=persistence)
    async with connected(mosquitto, filters=(ORDERS,)) as client, connected(mosquitto, "so") as peer:
        for number in range(5):
            await peer.publish(ORDER, f"order {number}".encode())
            (message,) = await receive(client)
            assert message.payload == f"order {number}".encode()
            message.acknowledge()
            before, peers_before = await client.connected(), await peer.connected()
            mosquitto.kill()
            mosquitto.start()
            await reconnected(client, before)
            await reconnected(peer, peers_before)


async def test_a_message_that_was_published_while_it_was_away_arrives_later(mosquitto: Mosquitto) -> None:
    """A QoS 1 message waits for a client that is away, even over a restart of the broker."""
    async with connected(mosquitto, filters=(ORDERS,)):
        pass
    async with connected(mosquitto, "so") as peer:
        await peer.publish(ORDER, b"while you were out")
    mosquitto.restart()
    async with connected(mosquitto, filters=(ORDERS,)) as client:
        assert (await client.connected()).session_present
        (message,) = await receive(client)
        assert (message.topic, message.payload) == (ORDER, b"while you were out")
        assert not message.retained


async def test_five_thousand_messages_wait_and_arrive_in_order(start_mosquitto: StartMosquitto) -> None:
    """With max_queued_messages 0 nothing is dropped for a client that is away, and nothing overtakes."""
    mosquitto = start_mosquitto(max_queued_messages=0, persistence=False)
    async with connected(mosquitto, filters=(ORDERS,)):
        pass
    async with connected(mosquitto, "so") as peer:
        await asyncio.gather(*(peer.publish(ORDER, str(number).encode()) for number in range(5000)))
    async with connected(mosquitto, filters=(ORDERS,)) as client:
        for number in range(5000):
            (message,) = await receive(client)
            assert message.payload == str(number).encode()
            message.acknowledge()


async def test_what_was_not_acknowledged_by_a_dead_broker_fails_and_is_not_sent_again(
    start_mosquitto: StartMosquitto,
) -> None:
    """A broker killed before PUBACK leaves it to the caller: futures fail in order, and nothing goes out by itself."""
    mosquitto = start_mosquitto(persistence=False)
    async with connected(mosquitto, "witness", filters=("/out/#",)) as witness, connected(mosquitto) as client:
        before, witness_before = await client.connected(), await witness.connected()
        mosquitto.pause()
        futures = [client.publish(f"/out/{number}", b"lost") for number in range(3)]
        failed: list[int] = []
        for future in futures:
            future.add_done_callback(lambda done: failed.append(futures.index(done)))
        mosquitto.kill()
        results = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), PATIENCE)
        assert [type(result) for result in results] == [ConnectionLost] * 3
        assert failed == [0, 1, 2]
        with pytest.raises(ConnectionLost):
            await client.publish("/out/refused", b"there is no connection")
        mosquitto.start()
        await reconnected(client, before)
        await reconnected(witness, witness_before)
        await client.publish("/out/marker", b"")
        (message,) = await receive(witness)
        assert message.topic == "/out/marker"


async def test_an_acknowledgement_counts_only_on_the_connection_that_its_message_came_on(mosquitto: Mosquitto) -> None:
    """Acknowledged late, on a connection that has ended, a message comes again, marked as redelivered."""
    async with connected(mosquitto, filters=(ORDERS,)) as client, connected(mosquitto, "so") as peer:
        await peer.publish(ORDER, b"first")
        await peer.publish(ORDER, b"second")
        first, second = await receive(client, 2)
        assert not second.redelivered
        first.acknowledge()
        await client.publish("/out/behind-the-acknowledgement", b"")
        for _ in range(2):
            before = await client.connected()
            await asyncio.to_thread(displace, mosquitto, "mso")
            await reconnected(client, before)
            second.acknowledge()
            (second,) = await receive(client)
            assert (second.payload, second.redelivered) == (b"second", True)
        second.acknowledge()
        await client.publish("/out/behind-the-acknowledgement", b"")
        before = await client.connected()
        await asyncio.to_thread(displace, mosquitto, "mso")
        await reconnected(client, before)
        await peer.publish(ORDER, b"third")
        (third,) = await receive(client)
        assert third.payload == b"third"


async def test_a_broker_that_hangs_is_noticed_within_one_and_a_half_keepalives(mosquitto: Mosquitto) -> None:
    """SIGSTOP leaves TCP open and answers nothing: the link is given up in time, and taken up again after SIGCONT."""
    async with connected(mosquitto, keepalive=2) as client:
        before = await client.connected()
        mosquitto.pause()
        paused = time.monotonic()
        try:
            await disconnected(client)
            assert time.monotonic() - paused <= 1.5 * 2
        finally:
            mosquitto.resume()
        await reconnected(client, before)
        await client.publish("/out/alive", b"")


async def test_the_keepalive_does_not_need_the_event_loop(mosquitto: Mosquitto) -> None:
    """An event loop that is blocked for more than one and a half keepalives costs no connection."""
    async with connected(mosquitto, keepalive=2) as client:
        before = await client.connected()
        time.sleep(4)
        await client.publish("/out/alive", b"")
        assert await client.connected() is before


async def test_leaving_takes_two_seconds_at_most_when_the_broker_hangs(mosquitto: Mosquitto) -> None:
    """Whoever stops us does not wait for a broker that answers nothing, not even with much still to be written."""
    async with connected(mosquitto) as client:
        mosquitto.pause()
        futures = [client.publish("/out/big", bytes(1024 * 1024)) for _ in range(32)]
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 2
    results = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), PATIENCE)
    assert {type(result) for result in results} == {ConnectionLost}


async def test_after_the_intake_has_stopped_messages_stay_with_the_broker(mosquitto: Mosquitto) -> None:
    """What arrives during a shutdown is delivered to the next process."""
    async with connected(mosquitto, filters=(ORDERS,)) as client, connected(mosquitto, "so") as peer:
        await client.stop_intake()
        await peer.publish(ORDER, b"for the next one")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(client.messages()), 0.3)
    async with connected(mosquitto, filters=(ORDERS,)) as client:
        (message,) = await receive(client)
        assert message.payload == b"for the next one"


async def test_the_traffic_of_others_does_not_reach_it(mosquitto: Mosquitto) -> None:
    """Twenty thousand messages on topics next to ours, and the first that arrives is ours."""
    async with connected(mosquitto, filters=(ORDERS,)) as client, connected(mosquitto, "so") as peer:
        topics = ["/lifecycle/essim/model/sim-1/m-1/NewStep", "/lifecycle/other/mso/sim-1/DeployModels"]
        for _ in range(20):
            await asyncio.gather(*(peer.publish(topics[number % 2], b"noise") for number in range(1000)))
        await peer.publish(ORDER, b"ours")
        (message,) = await receive(client)
        assert message.payload == b"ours"


async def test_fifty_reconnections_leave_nothing_behind(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads and open files are as many after fifty connections as after one."""
    monkeypatch.setattr("mso.broker.lifeline.LONGEST_RETRY_SECONDS", 0.001)
    process = psutil.Process()
    async with connected(mosquitto, filters=(ORDERS,)) as client:
        before = await client.connected()
        await asyncio.to_thread(displace, mosquitto, "mso")  # so that the pool of threads is there, too
        connection = await reconnected(client, before)
        threads, files = threading.active_count(), process.num_fds()
        for _ in range(50):
            await asyncio.to_thread(displace, mosquitto, "mso")
            connection = await reconnected(client, connection)
        async with asyncio.timeout(PATIENCE):
            while threading.active_count() > threads or process.num_fds() > files:
                await asyncio.sleep(0.01)


async def test_two_clients_with_one_id_are_reported_aloud(mosquitto: Mosquitto) -> None:
    """Two clients that keep taking each other's place end up in the log, with what to do about it."""
    with capture_logs() as logs:
        async with MqttBroker(settings(mosquitto, "twin")), MqttBroker(settings(mosquitto, "twin")):
            async with asyncio.timeout(PATIENCE):
                while not (told := [entry for entry in logs if entry["event"] == "broker.kicked_out"]):
                    await asyncio.sleep(0.01)
    assert told[0]["client_id"] == "twin"
    assert "MQTT_CLIENT_ID" in told[0]["advice"]


async def test_it_connects_with_more_than_a_thousand_files_open(mosquitto: Mosquitto) -> None:
    """select() ends at descriptor 1,023; a service with a thousand child processes does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as restore:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2048), hard))
        restore.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        null = os.open(Path("/dev/null"), os.O_RDONLY)
        restore.callback(os.close, null)
        while (copy := os.dup(null)) < 1100:
            restore.callback(os.close, copy)
        restore.callback(os.close, copy)
        async with connected(mosquitto) as client:
            await client.publish("/out/alive", b"")
