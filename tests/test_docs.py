"""The documents say what is: programs, bytes, links, paths, variables, events and metrics are those of the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from mso.config import Config, load
from mso.inventory import Inventory
from mso.observers.metrics import Metrics
from mso.outbox import Outbox
from mso.protocol.messages import healthcheck_pb2, lifecycle_pb2

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROTOCOL = DOCS / "protocol.md"
CONFIGURATION = DOCS / "configuration.md"
EXAMPLES = sorted(path for path in (DOCS / "examples").iterdir() if path.is_file())
VARIABLES = Config.__dataclass_fields__
NAMES = {field.metadata["variable"] for field in VARIABLES.values()}
PATHS = re.compile(
    r"`((?:mso|tests|ci|docs|benchmarks|message_definitions|simulation_components|k8s_cluster_configuration)/[\w./-]*)`"
)


def documents() -> list[Path]:
    """Every Markdown file that a reader of the repository finds."""
    folders = ("docs", "simulation_components", "benchmarks", "tests")
    return sorted([*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).rglob("*.md"))])


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a document: what stands behind the fence, and the text."""
    for found in re.finditer(r"^```([^\n]*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        yield found[1].strip(), found[2]


def prose(path: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """What the headings of a document can be linked by, as GitHub makes it of them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("example", EXAMPLES, ids=relative)
def test_an_example_stands_in_the_protocol_word_for_word(example: Path) -> None:
    """Who reads the page reads the program that the tests run."""
    assert example.read_text() in [text for _, text in blocks(PROTOCOL)]


def test_every_program_in_the_protocol_is_an_example() -> None:
    """No Python stands there that nobody runs."""
    examples = [example.read_text() for example in EXAMPLES]
    assert [text for kind, text in blocks(PROTOCOL) if kind == "python" and text not in examples] == []


def test_the_bytes_in_the_protocol_are_those_of_the_messages_above_them() -> None:
    """Each block of bytes follows the same message as text; the definitions make the one of the other."""
    worked = [(kind, text) for kind, text in blocks(PROTOCOL) if kind.startswith(("textproto", "hex"))]
    assert len(worked) >= 10
    for (kind, text), (then, dump) in zip(worked[::2], worked[1::2], strict=True):
        name = kind.removeprefix("textproto ")
        message: Message = getattr(lifecycle_pb2, name, None) or getattr(healthcheck_pb2, name)
        expected = text_format.Parse(text, message()).SerializeToString()  # type: ignore[operator]
        assert then == "hex"
        assert bytes.fromhex(re.sub(r"#.*", "", dump)) == expected, f"{text}\nis {expected.hex(' ')}"


@pytest.mark.parametrize("document", documents(), ids=relative)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    """To a file that is there, and to a heading that is in it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", documents(), ids=relative)
def test_every_path_that_is_named_exists(document: Path) -> None:
    """Whoever looks for a file finds it where the document says."""
    assert [path for path in PATHS.findall(prose(document)) if not (ROOT / path).exists()] == []


def test_the_table_of_variables_is_the_configuration() -> None:
    """Each variable once, with the default that holds."""
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", CONFIGURATION.read_text(), re.MULTILINE))
    assert rows.keys() == NAMES
    told = {
        field.metadata["variable"]: rows[field.metadata["variable"]]
        for field in VARIABLES.values()
        if isinstance(field.default, str | int | float | Path) and field.default != ""
    }
    holds = {
        field.metadata["variable"]: f"`{_written(field.default)}`"
        for field in VARIABLES.values()
        if field.metadata["variable"] in told
    }
    assert told == holds


def _written(value: object) -> str:
    """As an operator writes it."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def test_the_template_is_the_default_configuration() -> None:
    """.env.template names every variable once; filled in where it must be, it changes nothing."""
    template = ROOT / ".env.template"
    names = re.findall(r"^#? ?([A-Z_]+)=", template.read_text(), re.MULTILINE)
    assert sorted(names) == sorted(NAMES)
    required = {"SIMULATOR_NAME": "an-so"}
    assert load(required, template) == load(required)


def test_no_document_names_a_variable_that_is_none() -> None:
    """README.md and docs/ name variables that exist; MQTT_TLS_* stands for those that begin so."""
    unknown = {
        (relative(document), name)
        for document in [*ROOT.glob("README.md"), *DOCS.rglob("*.md")]
        for name in re.findall(r"\b((?:MSO|MQTT|LOG|KUBERNETES|SIMULATOR)_[A-Z_]+)", document.read_text())
        if name not in NAMES and not (name.endswith("_") and any(other.startswith(name) for other in NAMES))
    }
    assert unknown == set()


def logged_events() -> set[str]:
    """The first argument of every call in mso/ that looks like the name of an event."""
    found = set()
    for path in (ROOT / "mso").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and _logs(ast.unparse(node.func)):
                candidates = ast.walk(node.args[0]) if isinstance(node.args[0], ast.IfExp) else [node.args[0]]
                found |= {
                    one.value
                    for one in candidates
                    if isinstance(one, ast.Constant)
                    and isinstance(one.value, str)
                    and re.fullmatch(r"[a-z_]+\.[a-z_]+", one.value)
                }
    return found


def _logs(function: str) -> bool:
    """`told` is what narrate.py calls a bound log; to ask for the log of a library is to log nothing."""
    return function.startswith("told.") or ("log" in function and not function.endswith("getLogger"))


def test_every_event_of_the_log_is_documented() -> None:
    """The names in the tables of events are those that the code logs: all of them, and no other."""
    section = CONFIGURATION.read_text().partition("## The log\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", section, re.MULTILINE)) == logged_events()


def test_every_metric_is_documented() -> None:
    """The names in the table of metrics are those that the service exposes: all of them, and no other."""
    metrics = Metrics(Inventory(), Outbox())
    metrics.note_listing()
    exposed = {
        f"{metric.name}_total" if metric.type == "counter" else metric.name
        for metric in metrics.registry.collect()
        if metric.name.startswith("mso_")
    }
    told = set(re.findall(r"^\| `(mso_[a-z_]+)` \|", CONFIGURATION.read_text(), re.MULTILINE))
    assert told == exposed
