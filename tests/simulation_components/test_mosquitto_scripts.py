"""The scripts around Mosquitto: what they make, whom they let read it, and that they destroy nothing."""

import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mosquitto import find_mosquitto, free_port
from tests.party import Party
from tests.shipped_mosquitto import COMPONENTS, ShippedMosquitto

ROOT = COMPONENTS.parent
SCRIPTS = [*COMPONENTS.glob("*.sh"), *(COMPONENTS / "mosquitto").glob("*.sh"), *ROOT.glob("*.sh")]
TOOLS = (
    "awk",
    "base64",
    "bash",
    "cat",
    "chown",
    "dirname",
    "env",
    "flock",
    "head",
    "id",
    "ls",
    "mkdir",
    "mv",
    "sed",
    "touch",
    "tr",
)


@pytest.fixture
def shipped(tmp_path: Path) -> ShippedMosquitto:
    """Not started."""
    return ShippedMosquitto(tmp_path / "shipped")


def set_up(shipped: ShippedMosquitto, *arguments: str) -> str:
    """What it says."""
    made = shipped.script("mosquitto/set_up.sh", *arguments)
    assert made.returncode == 0, made.stderr
    return made.stdout


def kept(shipped: ShippedMosquitto) -> dict[str, bytes]:
    """Everything that it made, by its place."""
    found = sorted(path for path in shipped.directory.rglob("*") if path.is_file())
    return {str(path.relative_to(shipped.directory)): path.read_bytes() for path in found}


def test_a_second_set_up_changes_nothing(shipped: ShippedMosquitto) -> None:
    """Each user keeps its password, and each file is as it was."""
    said = set_up(shipped)
    before = kept(shipped)
    assert set_up(shipped) == said
    assert kept(shipped) == before


def test_set_up_by_several_at_once(shipped: ShippedMosquitto) -> None:
    """Who starts all parts at the same time gets one set of passwords, and no error."""
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: set_up(shipped), range(4)))
    assert len(set(said)) == 1
    assert len((shipped.directory / "broker" / "passwords").read_text().splitlines()) == 3


def test_only_the_owner_can_read_it(shipped: ShippedMosquitto) -> None:
    """Whatever is made is for the eyes of its owner, certificates and a .env included."""
    env = shipped.directory / ".env"
    set_up(shipped, "--model", "sim/pump", "--env", str(env))
    assert shipped.script("mosquitto/make_certificates.sh", "--client", "mso").returncode == 0
    for path in (shipped.directory, *shipped.directory.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_passwords_are_long_and_each_is_another(shipped: ShippedMosquitto) -> None:
    """Every user has a password of its own of 192 bits, of which Mosquitto gets a hash."""
    set_up(shipped, "--so", "essim", "--model", "pump", "--model", "sim/pump")
    users = ("mso", "so", "model", "essim", "pump", "sim/pump")
    passwords = {shipped.login(user).password for user in users}
    assert len(passwords) == len(users)
    assert {len(password) for password in passwords} == {32}
    for_mosquitto = b"".join(content for name, content in kept(shipped).items() if name.startswith("broker/"))
    assert not [password for password in passwords if password.encode() in for_mosquitto]


def test_a_password_that_is_kept_elsewhere_stays_valid(shipped: ShippedMosquitto) -> None:
    """A file of a client may be deleted; --renew makes a new password, for that user alone."""
    set_up(shipped)
    file, passwords = shipped.directory / "clients" / "so.env", shipped.directory / "broker" / "passwords"
    file.unlink()
    before = passwords.read_text()
    assert "--renew so" in set_up(shipped)
    assert passwords.read_text() == before
    assert not file.exists()
    set_up(shipped, "--renew", "so")
    assert len(set(before.splitlines()) - set(passwords.read_text().splitlines())) == 1
    assert shipped.login("so").password


@pytest.mark.broker
@pytest.mark.skipif(find_mosquitto() is None, reason="no Mosquitto here")
def test_an_interrupted_set_up_is_made_good(shipped: ShippedMosquitto, tmp_path: Path) -> None:
    """Where the passwords could not be hashed, the next set-up makes new ones, and every client has the right one."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for tool in TOOLS:
        if found := shutil.which(tool):
            (bare / tool).symlink_to(found)
    command = [str(COMPONENTS / "mosquitto" / "set_up.sh"), "--quiet"]
    failed = subprocess.run(command, env={**shipped.environment(), "PATH": str(bare)}, capture_output=True, check=False)
    assert failed.returncode == 1
    assert b"install one" in failed.stderr
    set_up(shipped)
    assert len((shipped.directory / "broker" / "passwords").read_text().splitlines()) == 3
    with shipped as broker, Party(broker.login("mso")), Party(broker.login("model")):
        pass


def test_the_address_stays_what_it_was(shipped: ShippedMosquitto) -> None:
    """Host and port are told once; with TLS the port becomes that of TLS."""
    set_up(shipped, "--host", "broker.example.org", "--port", "1999")
    set_up(shipped, "--model", "pump")
    assert (shipped.login("pump").host, shipped.login("mso").port) == ("broker.example.org", 1999)
    assert shipped.script("mosquitto/make_certificates.sh", "broker.example.org").returncode == 0
    assert (shipped.login("pump").host, shipped.login("mso").port) == ("broker.example.org", 8883)
    assert shipped.login("so").tls_ca_file == shipped.directory / "clients" / "ca.pem"


@pytest.mark.parametrize(
    ("arguments", "said"),
    (
        (("--model", "a/b/c"), "not 'a/b/c'"),
        (("--model", "a+"), "not 'a+'"),
        (("--model", ""), "--model wants a value"),
        (("--model", "mso"), "there is a user mso already"),
        (("--so", "model"), "neither mso nor model"),
        (("--so", "Essim"), "in lower case"),
        (("--port", "70000"), "from 1 to 65535"),
        (("--renew", "nobody"), "there is no user nobody, but mso, so, model"),
        (("--remove", "mso"), "nothing goes without mso"),
        (("--what",), "unknown argument --what"),
    ),
)
def test_what_makes_no_sense_is_refused(shipped: ShippedMosquitto, arguments: tuple[str, ...], said: str) -> None:
    """A wrong argument is named, the exit status is 2, and users stay as they are."""
    set_up(shipped)
    before = kept(shipped)
    made = shipped.script("mosquitto/set_up.sh", *arguments)
    assert made.returncode == 2
    assert said in made.stderr
    assert kept(shipped) == before


@pytest.mark.broker
@pytest.mark.skipif(find_mosquitto() is None, reason="no Mosquitto here")
def test_python_hashes_where_mosquitto_passwd_is_not(shipped: ShippedMosquitto, tmp_path: Path) -> None:
    """Without mosquitto_passwd the password file is one that Mosquitto understands, too."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    for tool in TOOLS:
        if found := shutil.which(tool):
            (tools / tool).symlink_to(found)
    command = COMPONENTS / "mosquitto" / "set_up.sh"
    subprocess.run([command, "--quiet"], env={**shipped.environment(), "PATH": str(tools)}, check=True)
    password = shipped.login("mso").password
    with shipped as broker, Party(broker.login("mso")):
        assert broker.login("mso").password == password


def test_a_proposal_of_an_env_file_is_a_configuration(shipped: ShippedMosquitto, mso_script: "Run") -> None:
    """What --env writes is all that MSO needs; what is there already stays."""
    env = shipped.directory / ".env"
    assert set_up(shipped, "--quiet", "--env", str(env)) == ""
    checked = mso_script("--env-file", str(env), "--check")
    assert checked.returncode == 0, checked.stderr
    assert "local" in checked.stdout
    assert shipped.login("mso").password not in checked.stdout + checked.stderr
    before = env.read_bytes()
    again = shipped.script("mosquitto/set_up.sh", "--env", str(env))
    assert again.returncode == 1
    assert "stays as it is" in again.stderr
    assert env.read_bytes() == before


def test_certificates(shipped: ShippedMosquitto) -> None:
    """They are valid by the strict rules, for the names that were given, and end when they should."""
    made = shipped.script("mosquitto/make_certificates.sh", "broker.example.org", "192.0.2.7", "--client", "mso")
    assert made.returncode == 0, made.stderr
    authority, server = shipped.directory / "clients" / "ca.pem", shipped.directory / "broker" / "tls" / "server.pem"
    for purpose, certificate in (("sslserver", server), ("sslclient", shipped.directory / "clients" / "mso.pem")):
        openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", authority, certificate)
    for check in (("-checkhost", "broker.example.org"), ("-checkhost", "localhost"), ("-checkip", "192.0.2.7")):
        assert "does match" in openssl("x509", "-in", server, "-noout", *check)
    year = 365 * 24 * 3600
    openssl("x509", "-in", server, "-noout", "-checkend", str(year))
    openssl("x509", "-in", authority, "-noout", "-checkend", str(9 * year))


def test_certificates_are_not_overwritten(shipped: ShippedMosquitto) -> None:
    """A second call changes nothing; --renew makes a certificate of the same authority, and nothing else."""
    assert shipped.script("mosquitto/make_certificates.sh", "--client", "mso").returncode == 0
    before = kept(shipped)
    for arguments in ((), ("other.example.org",), ("--client", "mso")):
        again = shipped.script("mosquitto/make_certificates.sh", *arguments)
        assert again.returncode == 1, arguments
        assert "already" in again.stderr
    assert kept(shipped) == before
    assert shipped.script("mosquitto/make_certificates.sh", "--renew").returncode == 0
    after = kept(shipped)
    assert {name for name in before if before[name] != after[name]} == {
        "broker/tls/server.key",
        "broker/tls/server.pem",
    }


def openssl(*arguments: str | Path) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def mso_script(tmp_path: Path) -> Run:
    """run_model_services_orchestrator.sh, from a directory that is none of the repository's."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "run_model_services_orchestrator.sh", *arguments],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=100,
            text=True,
            check=False,
        )

    return run


def test_without_an_env_file_mso_says_how_to_get_one(mso_script: Run, tmp_path: Path) -> None:
    """Who starts MSO without a configuration reads the two commands that make one."""
    ended = mso_script("--env-file", "missing.env")
    assert ended.returncode == 1
    assert f"set_up.sh --quiet --env '{tmp_path}/missing.env'" in ended.stderr
    assert ".env.template" in ended.stderr


@pytest.mark.process
def test_sigterm_ends_mso_in_good_order(shipped: ShippedMosquitto, tmp_path: Path) -> None:
    """The script is replaced by MSO: SIGTERM reaches it, and it ends with status 0."""
    env = tmp_path / "my.env"
    set_up(shipped, "--env", str(env), "--port", str(free_port()))
    with env.open("a") as more:
        more.write(f"MSO_STATE_DIR={tmp_path}/state\nMSO_HTTP_PORT=0\nLOG_FORMAT=json\n")
    log = tmp_path / "mso.log"
    with log.open("wb") as out:
        started = subprocess.Popen(
            [ROOT / "run_model_services_orchestrator.sh", "--env-file", "my.env"],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    deadline = time.monotonic() + 60
    while "broker.unreachable" not in log.read_text():
        assert started.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)  # the log of another process can only be read again
    started.send_signal(signal.SIGTERM)
    assert started.wait(60) == 0


def test_without_a_set_up_the_fake_simulator_says_what_is_missing(shipped: ShippedMosquitto) -> None:
    """Who plays before there is a broker reads what to start."""
    ended = shipped.script("run_fake_simulator_fake_model.sh")
    assert ended.returncode == 1
    assert "run_mosquitto.sh" in ended.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_is_sound_and_explains_itself(script: Path) -> None:
    """--help ends well and has an example; shellcheck, or bash where there is none, has nothing to say."""
    said = subprocess.run([script, "--help"], check=True, capture_output=True, text=True, cwd="/").stdout
    assert said.startswith("usage: ")
    assert said.count(script.name) > 1
    check = ["shellcheck"] if shutil.which("shellcheck") else ["bash", "-n"]
    assert subprocess.run([*check, script], check=False, capture_output=True, text=True).stdout == ""


def test_the_settings_are_those_of_the_page() -> None:
    """What docs/broker.md gives a reason for is in force as it stands there, and no limit is without a reason."""
    page = re.findall(r"^\| (`[a-z0-9_]+ [^|]+`) \|", (ROOT / "docs" / "broker.md").read_text(), re.MULTILINE)
    told = {setting for cell in page for setting in re.findall(r"`([^`]+)`", cell)}
    lines = (COMPONENTS / "mosquitto" / "mosquitto.conf").read_text().splitlines()
    assert len(told) > 7
    assert told <= set(lines)
    assert {setting for setting in lines if setting.startswith(("max_", "autosave_", "queue_"))} <= told


def test_no_password_is_in_the_repository() -> None:
    """What the set-up makes is ignored by git and stays out of images, and no file has a password or a hash of one."""
    assert "/simulation_components/mosquitto/generated/" in (ROOT / ".gitignore").read_text().splitlines()
    context = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in context
    assert not {"!simulation_components/", "!simulation_components/mosquitto/"} & set(context)
    places = [path for path in COMPONENTS.rglob("*") if path.is_file() and "generated" not in path.parts]
    for path in [*places, *ROOT.glob("*.sh"), ROOT / ".env.template"]:
        text = path.read_bytes().decode(errors="replace")
        assert "$7$1" not in text, path
        for line in text.splitlines():
            name, is_set, value = line.partition("PASSWORD=")
            assert not is_set or not name.replace("_", "").isalnum() or not value, (path, line)
