"""Whether a ModelsReady went out, with real brokers and real kills: the witness says what the SO has heard."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from mso.broker import ConnectionLost
from mso.model import SimulatorName
from mso.observers.witness import Verdict
from mso.protocol import topics
from tests.integration.conftest import StartMosquitto
from tests.integration.witnessing import Mso, an_so, running, truth
from tests.mosquitto import Mosquitto
from tests.mqtt import PATIENCE, connected, displace, receive
from tests.observers.witnessed import TOPIC, Row, send
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.broker

SEEN, NOT_SEEN, LOST = Verdict.SEEN, Verdict.NOT_SEEN, Verdict.LOST
ROOT = Path(__file__).parents[2]

CHILD = """
import asyncio, sys
from tests.integration.test_witness import hand_over_and_wait
asyncio.run(hand_over_and_wait(*sys.argv[1:]))
"""


# -- brokers that are killed ------------------------------------------------------------------------------------------


async def saves(mosquitto: Mosquitto, text: str) -> None:
    """It does so a moment after it has answered."""
    async with asyncio.timeout(PATIENCE):
        while text.encode() not in mosquitto.saved():
            await asyncio.sleep(0.01)


async def hand_over_and_kill(mso: Mso, mosquitto: Mosquitto, token: str, *, processed: bool) -> None:
    """`token`: what it must have saved by now; empty, if it saves nothing."""
    assert token.encode() in mosquitto.saved()
    if processed:
        await mso.main.publish(TOPIC, b"")
        if token:
            await saves(mosquitto, TOPIC)
    else:
        mosquitto.pause()
        mso.main.publish(TOPIC, b"").add_done_callback(lambda done: done.exception())
    mosquitto.kill()


@pytest.mark.parametrize("processed", (True, False))
async def test_a_broker_that_is_killed_and_keeps_its_memory_costs_nothing(
    mosquitto: Mosquitto, processed: bool
) -> None:
    """kill -9 of the broker between handing over and PUBACK, or right after it, and the verdict is the truth."""
    async with an_so(mosquitto) as heard, running(mosquitto) as mso:
        token = await mso.witness.clear(TOPIC)
        await hand_over_and_kill(mso, mosquitto, token, processed=processed)
        mosquitto.start()
        assert await mso.witness.verdict(TOPIC, token) is (SEEN if processed else NOT_SEEN)
        assert len((await heard())[TOPIC]) == processed


@pytest.mark.parametrize("processed", (True, False))
async def test_a_broker_and_a_process_that_are_both_gone_cost_nothing_either(
    mosquitto: Mosquitto, processed: bool
) -> None:
    """All that the next process needs is in the session and the ledger."""
    async with running(mosquitto) as mso:
        row = Row(TOPIC, token=await mso.witness.clear(TOPIC))
        await hand_over_and_kill(mso, mosquitto, row.token, processed=processed)
    mosquitto.start()
    async with an_so(mosquitto), running(mosquitto, row) as mso:
        assert await mso.witness.verdict(TOPIC, row.token) is (SEEN if processed else NOT_SEEN)


@pytest.mark.parametrize("processed", (True, False))
async def test_a_broker_that_is_killed_and_forgets_makes_it_lost(
    start_mosquitto: StartMosquitto, processed: bool
) -> None:
    """Also when a process has been there in between, which made the session anew."""
    mosquitto = start_mosquitto(persistence=False)
    async with running(mosquitto) as mso:
        row = Row(TOPIC, token=await mso.witness.clear(TOPIC))
        await hand_over_and_kill(mso, mosquitto, "", processed=processed)
    mosquitto.start()
    async with running(mosquitto) as mso:
        await mso.session.connected()
    async with running(mosquitto, row) as mso:
        assert (await mso.session.connected()).session_present
        assert await mso.witness.verdict(TOPIC, row.token) is LOST


async def test_a_broker_that_wakes_up_with_what_it_saved_long_ago_makes_it_lost(mosquitto: Mosquitto) -> None:
    """By default Mosquitto saves every half an hour: its session is there, and knows nothing of the row."""
    async with running(mosquitto) as mso:
        await mso.session.connected()
    mosquitto.stop()
    long_ago = mosquitto.saved()
    mosquitto.start()
    async with running(mosquitto) as mso:
        token = await mso.witness.clear(TOPIC)
        await hand_over_and_kill(mso, mosquitto, token, processed=False)
        (mosquitto.directory / "data" / "mosquitto.db").write_bytes(long_ago)
        mosquitto.start()
        assert (await mso.session.connected()).session_present
        assert await mso.witness.verdict(TOPIC, token) is LOST


# -- processes that are killed ----------------------------------------------------------------------------------------


@dataclass
class Known:
    """A broker that somebody else has started."""

    host: str
    port: int
    username: str
    password: str


async def hand_over_and_wait(host: str, port: str, username: str, password: str, moment: str) -> None:
    """What the child does: it gets as far as `moment`, says so, and waits to be killed."""
    async with running(Known(host, int(port), username, password)) as mso:
        print(await mso.witness.clear(TOPIC), file=sys.stderr)  # noqa: T201 - the parent reads it; stdout is the log's
        if moment != "noted":
            published = mso.main.publish(TOPIC, b"")
            if moment == "acknowledged":
                await published
            print(moment, file=sys.stderr)  # noqa: T201 - the parent reads it
        await asyncio.Event().wait()


async def kill_a_process(broker: Mosquitto, moment: str, *, delay: float = 0) -> Row:
    """Start one, let it get as far as `moment`, kill -9; the row as it would be in its ledger."""
    known = (broker.host, str(broker.port), broker.username, broker.password)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CHILD,
        *known,
        moment,
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stderr
    try:
        async with asyncio.timeout(PATIENCE):
            token = (await child.stderr.readline()).decode().strip()
            if moment != "noted":
                await child.stderr.readline()
        await asyncio.sleep(delay)
    finally:
        child.kill()
        await child.wait()
    assert token
    return Row(TOPIC, token=token)


@pytest.mark.parametrize(("moment", "expected"), (("noted", NOT_SEEN), ("acknowledged", SEEN)))
async def test_a_process_that_is_killed_leaves_all_that_the_next_one_needs(
    mosquitto: Mosquitto, moment: str, expected: Verdict
) -> None:
    """kill -9 before it was handed over, and kill -9 after PUBACK and before that was noted."""
    row = await kill_a_process(mosquitto, moment)
    async with running(mosquitto, row) as mso:
        assert await mso.witness.verdict(TOPIC, row.token) is expected


@pytest.mark.parametrize("milliseconds", (0, 0.05, 0.1, 0.2, 0.3, 1))
async def test_a_process_that_is_killed_while_it_hands_over_is_told_the_truth(
    mosquitto: Mosquitto, milliseconds: float
) -> None:
    """Whether it had gone out nobody knows beforehand; what the witness says is what the SO has heard."""
    async with an_so(mosquitto) as heard:
        row = await kill_a_process(mosquitto, "handed over", delay=milliseconds / 1000)
        async with running(mosquitto, row) as mso:
            verdict = await mso.witness.verdict(TOPIC, row.token)
            assert verdict is truth((await heard())[TOPIC])


# -- connections that break -------------------------------------------------------------------------------------------


async def test_a_connection_that_is_cut_while_it_hands_over_is_told_the_truth(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty times: what the witness says is what the SO has heard."""
    monkeypatch.setattr("mso.broker.lifeline.LONGEST_RETRY_SECONDS", 0.001)
    verdicts = []
    with TcpProxy(mosquitto.host, mosquitto.port) as proxy:
        async with an_so(mosquitto) as heard, running(mosquitto, port=proxy.port) as mso:
            for number in range(40):
                topic = f"/lifecycle/mso/so/sim-{number}/ModelsReady"
                token = await mso.witness.clear(topic)
                await mso.main.connected()
                if number % 3 == 0:
                    proxy.cut()
                elif number % 3 == 1:
                    proxy.freeze()  # what is on its way then gets through when it is cut, or a moment later
                published = mso.main.publish(topic, b"")
                await asyncio.sleep(random.uniform(0, 0.0005))
                proxy.cut()
                with suppress(ConnectionLost):
                    await published
                verdicts.append(await mso.witness.verdict(topic, token))
                assert verdicts[-1] is truth((await heard())[topic])
                mso.witness.settled(topic, token)
    assert set(verdicts) == {SEEN, NOT_SEEN}


async def test_connections_that_break_again_and_again_while_it_is_settled_change_nothing(mosquitto: Mosquitto) -> None:
    """Both sessions are taken over ten times in turn, and the verdict comes all the same."""
    async with running(mosquitto) as mso:
        token = await mso.witness.clear(TOPIC)
        await mso.main.publish(TOPIC, b"")
        for client_id in ("mso-witness", "mso") * 5:
            asked = asyncio.create_task(mso.witness.verdict(TOPIC, token))
            await asyncio.to_thread(displace, mosquitto, client_id)
            assert await asked is SEEN


async def test_a_witness_that_is_away_hears_later_what_went_out(mosquitto: Mosquitto) -> None:
    """Its session takes the copy for it, and keeps it over a kill -9 of the broker."""
    async with running(mosquitto) as mso:
        row = Row(TOPIC, token=await mso.witness.clear(TOPIC))
    async with connected(mosquitto) as main:
        await main.publish(TOPIC, b"")
    await saves(mosquitto, TOPIC)
    mosquitto.kill()
    mosquitto.start()
    async with running(mosquitto, row) as mso:
        assert await mso.witness.verdict(TOPIC, row.token) is SEEN


async def test_the_copy_of_the_run_before_is_not_that_of_this_one(mosquitto: Mosquitto) -> None:
    """Not even when Mosquitto sends again what was acknowledged: it saves no acknowledgements, and is killed."""
    async with running(mosquitto) as mso:
        await mso.witness.clear(TOPIC)
        await mso.main.publish(TOPIC, b"")
    async with running(mosquitto) as mso:
        token = await mso.witness.clear(TOPIC)
        await hand_over_and_kill(mso, mosquitto, token, processed=False)
        mosquitto.start()
        assert await mso.witness.verdict(TOPIC, token) is NOT_SEEN


# -- all of it --------------------------------------------------------------------------------------------------------


async def send_all_among_troubles(rows: list[Row], mso: Mso, *troubles: Callable[[], None]) -> None:
    """Those of one topic one after the other, and all topics at once."""

    async def commit(entry: Callable[[], None]) -> None:
        await asyncio.sleep(random.uniform(0, 0.01))
        entry()

    async def send_in_order(topic: str) -> None:
        for row in rows:
            if row.topic == topic:
                await send(row, mso.main, mso.witness, commit)

    async with asyncio.TaskGroup() as group:
        for topic in {row.topic for row in rows}:
            group.create_task(send_in_order(topic))
        for trouble in troubles:
            await asyncio.sleep(random.uniform(0, 0.1))
            await asyncio.to_thread(trouble)


def thrice(count: int) -> list[Row]:
    return [Row(f"/lifecycle/mso/so/sim-{number}/ModelsReady") for number in range(count) for _ in range(3)]


async def test_thirty_simulations_at_once_each_hear_it_once_a_run(mosquitto: Mosquitto) -> None:
    """While the broker is restarted, and connections are cut and taken over."""
    rows = thrice(30)
    with TcpProxy(mosquitto.host, mosquitto.port) as proxy:
        async with an_so(mosquitto) as heard, running(mosquitto, port=proxy.port) as mso:
            take_over = partial(displace, mosquitto, "mso-witness")
            await send_all_among_troubles(rows, mso, *(proxy.cut, mosquitto.stop, mosquitto.start, take_over) * 2)
            assert [(row.done, row.withheld) for row in rows] == [(True, False)] * len(rows)
            assert {topic: len(copies) for topic, copies in (await heard()).items()} == Counter(
                row.topic for row in rows
            )


async def test_thirty_simulations_at_once_whose_broker_is_killed_never_hear_it_twice(mosquitto: Mosquitto) -> None:
    """But for what Mosquitto itself forgot: it passes on first and saves a moment later.

    What is killed in between is outside the promise (docs/protocol.md, *Promises*). The absentee's queue holds
    everything that the broker ever saved of them.
    """
    rows = thrice(30)
    async with an_so(mosquitto) as heard, running(mosquitto) as mso:
        await send_all_among_troubles(rows, mso, *(mosquitto.kill, mosquitto.start) * 3)
        assert all(row.done for row in rows)
        copies = await heard()
        mosquitto.save()
        remembered = mosquitto.saved()
        for topic in copies:
            assert len({copy for copy in copies[topic] if copy in remembered}) <= 3


@pytest.mark.parametrize("processed", (True, False))
async def test_a_mosquitto_that_sends_one_message_at_a_time_tells_it_as_well(
    mosquitto: Mosquitto, processed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`max_inflight_messages 1` is for those who want strict order: the token must not stop up the session."""
    monkeypatch.setattr("mso.observers.witness.ECHO_SECONDS", 0.5)
    with (mosquitto.directory / "mosquitto.conf").open("a") as configuration:
        configuration.write("max_inflight_messages 1\n")
    mosquitto.restart()
    row = await kill_a_process(mosquitto, "acknowledged" if processed else "noted")
    async with running(mosquitto, row) as mso:
        assert await mso.witness.verdict(TOPIC, row.token) is (SEEN if processed else NOT_SEEN)


@pytest.mark.parametrize("client_id", ("mso/a b", "+#", "mso-\N{SNOWMAN}", "100%"))
async def test_any_client_id_makes_a_topic_to_talk_to_oneself(mosquitto: Mosquitto, client_id: str) -> None:
    """What a client id may contain and a topic may not is written in another way."""
    topic = topics.nonce(client_id)
    filters = topics.witness_filters((SimulatorName("so"),), client_id)
    async with connected(mosquitto, "mso-witness", filters=filters) as session, connected(mosquitto) as main:
        await main.publish(topic, b"hello")
        (message,) = await receive(session)
        assert message.payload == b"hello"
