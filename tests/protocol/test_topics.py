"""Topics, as docs/protocol.md lists them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mso.model import ModelId, SimulationId, SimulatorName
from mso.protocol import topics
from mso.protocol.topics import DeployModels, MalformedTopic, ReadyForProcessing, SimulationDone, parse

SO, SIM, MODEL = SimulatorName("dots-so"), SimulationId("sim 1"), ModelId("modèl-0")


@pytest.mark.parametrize(
    ("topic", "address"),
    (
        ("/lifecycle/dots-so/mso/sim 1/DeployModels", DeployModels(SO, SIM)),
        ("/lifecycle/dots-so/mso/sim 1/SimulationDone", SimulationDone(SO, SIM)),
        ("/lifecycle/model/mso/sim 1/modèl-0/ReadyForProcessing", ReadyForProcessing(SIM, MODEL)),
        ("/lifecycle/dots-so/mso/mso/DeployModels", DeployModels(SO, SimulationId("mso"))),
        (
            "/lifecycle/model/mso/model/mso/ReadyForProcessing",
            ReadyForProcessing(SimulationId("model"), ModelId("mso")),
        ),
    ),
)
def test_what_is_for_mso_is_read(topic: str, address: topics.Address) -> None:
    """Each topic of the protocol that leads to MSO names its sender, its simulation, and its model."""
    assert parse(topic) == address


@pytest.mark.parametrize(
    "topic",
    (
        "",
        "/",
        "lifecycle/essim/mso/sim/DeployModels",
        "/lifecycle/essim/mso/sim/DeployModels/",
        "/lifecycle/essim/mso/sim/extra/DeployModels",
        "/lifecycle/essim/mso/DeployModels",
        "/lifecycle/essim/mso//DeployModels",
        "/lifecycle//mso/sim/DeployModels",
        "/lifecycle/model/mso/sim/DeployModels",
        "/lifecycle/mso/mso/sim/SimulationDone",
        "/lifecycle/mso/essim/sim/ModelsReady",
        "/lifecycle/essim/mso/sim/deploymodels",
        "/lifecycle/essim/mso/sim/NewStep",
        "/Lifecycle/essim/mso/sim/DeployModels",
        "/lifecycle/essim/MSO/sim/DeployModels",
        "/lifecycle/model/mso/sim/ReadyForProcessing",
        "/lifecycle/model/mso/sim//ReadyForProcessing",
        "/lifecycle/model/mso//m/ReadyForProcessing",
        "/lifecycle/essim/mso/sim/m/ReadyForProcessing",
        "/lifecycle/essim/model/sim/m/SimulationDone",
        "/healthcheck/essim/mso/so/PingHealthSOToMSO",
        "\0",
    ),
)
def test_anything_else_is_malformed(topic: str) -> None:
    """A topic of the wrong depth, with an empty part, or of another message is refused and not guessed at."""
    with pytest.raises(MalformedTopic):
        parse(topic)


@given(st.text(alphabet="/lifecyclemso#+\0é", max_size=40) | st.text(max_size=40))
def test_no_topic_does_harm(topic: str) -> None:
    """Any text is an address or is malformed."""
    try:
        parse(topic)
    except MalformedTopic:
        return
    assert topic.startswith("/lifecycle/")


def test_the_filters_are_exact() -> None:
    """MSO subscribes to what is for it, and never to `#`: a simulation's own traffic must not come this way."""
    assert topics.filters((SO, SimulatorName("essim"))) == (
        "/lifecycle/dots-so/mso/+/DeployModels",
        "/lifecycle/essim/mso/+/DeployModels",
        "/lifecycle/dots-so/mso/+/SimulationDone",
        "/lifecycle/essim/mso/+/SimulationDone",
        "/lifecycle/model/mso/+/+/ReadyForProcessing",
    )


def matches(topic_filter: str, topic: str) -> bool:
    wanted, levels = topic_filter.split("/"), topic.split("/")
    return len(wanted) == len(levels) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))


@pytest.mark.parametrize("message", ("NewStep", "ModelParameters", "CalculationsDone", "Parameterized", "ModelsReady"))
def test_the_traffic_of_a_simulation_passes_by(message: str) -> None:
    """What SO and models say to each other, thousands of times a second, matches no filter."""
    for topic in (
        f"/lifecycle/dots-so/model/sim/m/{message}",
        f"/lifecycle/model/dots-so/sim/m/{message}",
        f"/lifecycle/mso/dots-so/sim/{message}",
        "/log/model/dots-so/sim/m",
    ):
        assert not any(matches(topic_filter, topic) for topic_filter in topics.filters((SO,)))


def test_what_is_told_goes_to_the_topics_of_the_protocol() -> None:
    """Deployed SOs index the parts of these topics: not one may move."""
    assert topics.models_ready(SO, SIM) == "/lifecycle/mso/dots-so/sim 1/ModelsReady"
    assert topics.model_has_terminated(SO, SIM, MODEL) == "/lifecycle/mso/dots-so/sim 1/modèl-0/ModelHasTerminated"
    assert topics.error_occurred(SO, SIM, MODEL) == "/lifecycle/mso/dots-so/sim 1/modèl-0/ErrorOccurred"
    assert topics.all_models_have_terminated(SO, SIM) == "/lifecycle/mso/dots-so/sim 1/AllModelsHaveTerminated"
    assert topics.deploy_models_rejected(SO, SIM) == "/lifecycle/mso/dots-so/sim 1/DeployModelsRejected"
    assert topics.status(SO) == "/healthcheck/mso/dots-so/Status"


@pytest.mark.parametrize("text", ("a", " ", "modèl-0", "😀", "a.b$c", "x" * 256, "..", "\N{ZERO WIDTH SPACE}"))
def test_any_text_that_can_be_a_level_is_an_id(text: str) -> None:
    """Ids are chosen by the SO; MSO is not the one to be particular."""
    assert topics.is_legal_id(text)


@pytest.mark.parametrize("text", ("", "a/b", "+", "a#", "a\0", "x" * 257))
def test_what_cannot_be_one_level_is_no_id(text: str) -> None:
    """Empty, with a separator or a wildcard in it, or longer than a backplane can keep."""
    assert not topics.is_legal_id(text)


@pytest.mark.parametrize("text", ("a\nb", "\x7f", "a\x85", "a\ufffe", "\ufdd0", "\U0001ffff"))
def test_what_brokers_cut_the_connection_for_is_no_id(text: str) -> None:
    """MQTT lets a broker hang up on who publishes such a character in a topic, and Mosquitto does.

    One model with such an id would make MSO connect, publish its termination and be cut off, for ever.
    """
    assert not topics.is_legal_id(text)
