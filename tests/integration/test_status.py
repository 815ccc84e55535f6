"""`mso status` beside a real service: what lives, what of it has failed, live, and when the service is gone."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.conftest import StartMso
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess, wait_until


def test_a_simulation_is_followed_from_its_beginning_to_its_end(mso: MsoProcess, peer: Peer) -> None:
    """As a table for people and as JSON for programs; and afterwards nothing lives."""
    peer.deploy("sim", order(configuration("a", "waits"), configuration("b", "waits"), configuration("c", "ends:0")))
    peer.wait_for("sim", "ModelHasTerminated")
    peer.ready("sim", "a")
    mso.wait_for_event("model.state_changed", now="running")
    wait_until(lambda: "1 running" in mso.command("status", "sim").stdout)
    page = mso.command("status", "sim").stdout
    assert "service: alive and ready" in page
    assert "not ready yet: b" in page
    told = json.loads(mso.command("status", "--json").stdout)
    assert told["service"] == {"alive": True, "ready": True, "reasons": []}
    (simulation,) = told["simulations"]
    counts = {name: simulation[name] for name in ("models", "created", "running", "succeeded", "failed", "undeployed")}
    assert counts == {"models": 3, "created": 1, "running": 1, "succeeded": 1, "failed": 0, "undeployed": 0}
    peer.done("sim")
    peer.wait_for_end("sim")
    wait_until(lambda: "no simulation lives" in mso.command("status").stdout)


def test_without_a_service_it_shows_what_the_ledger_has(mso: MsoProcess, peer: Peer) -> None:
    """After a kill -9, and says that nobody answers."""
    peer.deploy("sim", order(configuration("a", "waits")))
    mso.wait_for_event("model.deployed")
    mso.kill()
    told = mso.command("status", "sim")
    assert told.returncode == 0
    assert "none answers on this machine" in told.stdout
    assert "1 created" in told.stdout


def test_one_that_waits_for_room_is_told_to_wait(mosquitto: Mosquitto, start_mso: StartMso, peer: Peer) -> None:
    """The other one lives."""
    mso = start_mso(mosquitto, MSO_MAX_ACTIVE_PODS="1")
    for simulation in ("first", "second"):
        peer.deploy(simulation, order(configuration("a", "waits")))
    mso.wait_for_event("simulation.waiting")
    mso.wait_for_event("model.deployed")
    states = {"first": "not ready", "second": "waiting"}

    def seen() -> dict[str, str]:
        told = json.loads(mso.command("status", "--json").stdout)
        return {one["simulation"]: one["state"] for one in told["simulations"]}

    wait_until(lambda: seen() == states)


def test_what_is_not_there_is_said(mso: MsoProcess, tmp_path: Path) -> None:
    """No such simulation, no such ledger: status 1, and what to look at instead."""
    told = mso.command("status", "nobody")
    assert (told.returncode, "mso history lists" in told.stdout) == (1, True)
    mso.set("MSO_STATE_DIR", str(tmp_path / "elsewhere"))
    told = mso.command("status")
    assert (told.returncode, "there is no ledger here" in told.stdout) == (1, True)


def test_watching_tells_each_change_and_ends_well(mso: MsoProcess, peer: Peer) -> None:
    """Not on a terminal: a line of JSON for each change. Ctrl-C ends it with 0."""
    with mso.begin("status", "--watch", "--json") as watch:
        assert watch.stdout
        assert json.loads(watch.stdout.readline())["simulations"] == []
        peer.deploy("sim", order(configuration("a", "waits")))
        while not (found := json.loads(watch.stdout.readline())["simulations"]):
            pass
        assert found[0]["simulation"] == "sim"
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 0


def test_on_a_terminal_one_page_is_kept_up_to_date(mso: MsoProcess, peer: Peer) -> None:
    """What has changed is drawn over what was there."""
    ours, theirs = pty.openpty()
    with mso.begin("status", "--watch", stdout=theirs) as watch:
        os.close(theirs)
        screen = ""

        def see(words: str) -> None:
            nonlocal screen
            while words not in screen:
                screen += os.read(ours, 4096).decode()

        see("no simulation lives")
        peer.deploy("sim", order(configuration("a", "waits")))
        see("not ready")
        assert "\x1b[2K" in screen
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 0
    os.close(ours)


def test_it_runs_where_stdout_is_closed_early(mso: MsoProcess) -> None:
    """`mso status | head -1` is no reason for a traceback."""
    script = f"{sys.executable} -m mso status --env-file /dev/null | true"
    told = subprocess.run(
        ["bash", "-c", script],
        env=mso.environment,
        cwd=mso.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in told.stderr
