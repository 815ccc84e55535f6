"""Who may do what on Mosquitto as it is shipped: docs/broker.md says it, and every user tries all of it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mosquitto import find_mosquitto, hashed
from tests.party import Party
from tests.shipped_mosquitto import Login, ShippedMosquitto

pytestmark = [pytest.mark.broker, pytest.mark.skipif(find_mosquitto() is None, reason="no Mosquitto here")]

PAGE = Path(__file__).parents[2] / "docs" / "broker.md"
NAMES = {"<so>": "essim", "<sim>": "sim-1", "<model>": "pump", "<so-id>": "essim-0", "<client id>": "mso-essim"}
ROLES = ("mso", "so", "model")
AUDITOR = Login("127.0.0.1", 0, "auditor", "hears-everything")

# User, its role on the topics of NAMES, and a topic that it may read whatever else it may: the last that it hears.
USERS = (
    ("mso", "mso", "/mso/x/witness"),
    ("so", "so", "/healthcheck/mso/x/Status"),
    ("essim", "so", "/healthcheck/mso/essim/Status"),
    ("dots-so", "another so", "/healthcheck/mso/dots-so/Status"),
    ("model", "model", "/lifecycle/x/model/sim-1/pump/Fence"),
    ("pump", "model", "/lifecycle/x/model/sim-1/pump/Fence"),
    ("sim-1/pump", "model", "/lifecycle/x/model/sim-1/pump/Fence"),
    ("battery", "another model", "/lifecycle/x/model/sim-1/battery/Fence"),
    ("sim-2/pump", "another model", "/lifecycle/x/model/sim-2/pump/Fence"),
)


def rules() -> dict[str, dict[str, str]]:
    """The table of docs/broker.md: by topic, with NAMES filled in, what each role does."""
    found = {}
    for topic, *cells in re.findall(r"^\| `(/[^`]+)` \|(.*?)\|(.*?)\|(.*?)\|$", PAGE.read_text(), re.MULTILINE):
        for name, value in NAMES.items():
            topic = topic.replace(name, value)
        found[topic] = dict(zip(ROLES, (cell.strip() for cell in cells), strict=True))
    assert len(found) > 20
    return found


RULES = rules()


def may(verb: str, role: str) -> set[str]:
    """The topics of the table. A simulation orchestrator overhears the announcements of others' models, too."""
    if role == "another so":
        overheard = {topic for topic in RULES if topic.endswith("/ReadyForProcessing")}
        return overheard if verb == "reads" else set()
    return {topic for topic, roles in RULES.items() if verb in roles.get(role, "")}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedMosquitto]:
    """With all users, and one more that may do everything."""
    shipped = ShippedMosquitto(tmp_path_factory.mktemp("shipped") / "mosquitto")
    with shipped as broker:
        named = ["--so", "essim", "--so", "dots-so", "--model", "pump", "--model", "sim-1/pump", "--model", "battery"]
        made = broker.script("mosquitto/set_up.sh", *named, "--model", "sim-2/pump")
        assert made.returncode == 0, made.stderr
        with (broker.directory / "broker" / "passwords").open("a") as passwords:
            passwords.write(f"{AUDITOR.username}:{hashed(AUDITOR.password)}\n")
        with (broker.directory / "broker" / "acl").open("a") as acl:
            acl.write(f"user {AUDITOR.username}\ntopic readwrite #\n")
        broker.reload()
        yield broker


@pytest.fixture
def auditor(broker: ShippedMosquitto) -> Iterator[Party]:
    with Party(Login("127.0.0.1", broker.port, AUDITOR.username, AUDITOR.password), "#") as auditor:
        yield auditor


@pytest.mark.parametrize(("user", "role", "last"), USERS, ids=[user for user, _, _ in USERS])
def test_a_user_publishes_what_its_role_may_and_nothing_else(
    broker: ShippedMosquitto, auditor: Party, user: str, role: str, last: str
) -> None:
    """What a user publishes is heard if and only if the table says that its role publishes it."""
    with Party(broker.login(user)) as party:
        for topic in RULES:
            party.publish(topic, user.encode())
    auditor.publish("audit")
    heard = auditor.until("audit")
    assert {topic for topic, payload in heard if payload == user.encode()} == may("publishes", role)


@pytest.mark.parametrize(("user", "role", "last"), USERS, ids=[user for user, _, _ in USERS])
def test_a_user_hears_what_its_role_may_and_nothing_else(
    broker: ShippedMosquitto, auditor: Party, user: str, role: str, last: str
) -> None:
    """Who subscribes to everything hears what the table says that its role reads."""
    with Party(broker.login(user), "#") as party:
        for topic in RULES:
            auditor.publish(topic, b"to " + user.encode())
        auditor.publish(last, b"last")
        heard = party.until(last, b"last")
    assert {topic for topic, _ in heard} == may("reads", role)


def test_a_model_cannot_read_the_passwords_in_a_request(broker: ShippedMosquitto) -> None:
    """DeployModels carries passwords: it reaches MSO, and no model that asks for it."""
    request, order = "/lifecycle/essim/mso/sim-1/DeployModels", "/lifecycle/essim/model/sim-1/pump/NewStep"
    with Party(broker.login("model"), "/lifecycle/+/mso/+/DeployModels", order) as model:
        with Party(broker.login("mso"), "/lifecycle/+/mso/+/DeployModels") as mso, Party(broker.login("essim")) as so:
            so.publish(request)
            so.publish(order)
            assert mso.until(request) == []
        assert model.until(order) == []


def test_a_model_gives_no_orders_to_another_one(broker: ShippedMosquitto) -> None:
    """Models that listen to any orchestrator do not hear one that says it is an orchestrator named `model`."""
    with Party(broker.login("pump"), "/lifecycle/+/model/sim-1/pump/+") as victim:
        with Party(broker.login("model")) as model, Party(broker.login("so")) as so:
            model.publish("/lifecycle/model/model/sim-1/pump/SimulationDone")
            so.publish("/lifecycle/essim/model/sim-1/pump/NewStep")
        assert victim.until("/lifecycle/essim/model/sim-1/pump/NewStep") == []


def test_a_model_cannot_leave_a_will_that_it_may_not_say(broker: ShippedMosquitto, auditor: Party) -> None:
    """The last will of a model is published where it may publish, and nowhere else."""
    forbidden, allowed = "/lifecycle/essim/mso/sim-1/SimulationDone", "/lifecycle/model/essim/sim-1/pump/ErrorOccurred"
    for will in (forbidden, allowed):
        try:
            with Party(broker.login("pump"), will=will) as model:
                model.die()
        except ConnectionRefusedError:
            assert will == forbidden  # which is as good
    assert forbidden not in [topic for topic, _ in auditor.until(allowed, b"will")]


@pytest.mark.parametrize(("username", "password"), (("", ""), ("mso", "wrong"), ("nobody", "x"), ("mso", "")))
def test_who_is_nobody_is_not_let_in(broker: ShippedMosquitto, username: str, password: str) -> None:
    """Neither anonymous clients are let in, nor unknown users, nor wrong passwords."""
    with pytest.raises(ConnectionRefusedError, match=r"Not authorized|Bad user name or password"):
        with Party(Login("127.0.0.1", broker.port, username, password)):
            pass


def test_a_user_that_was_removed_is_not_let_in(broker: ShippedMosquitto) -> None:
    """--remove and SIGHUP shut somebody out; --renew and SIGHUP shut out who knows the old password."""
    for option in ("--model", "--renew", "--remove"):
        before = broker.login("leaving") if option != "--model" else None
        assert broker.script("mosquitto/set_up.sh", option, "leaving").returncode == 0
        broker.reload()
        if option != "--remove":
            with Party(broker.login("leaving")):
                pass
        if before:
            with pytest.raises(ConnectionRefusedError), Party(before):
                pass
