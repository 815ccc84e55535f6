"""The documents say what is: programs, bytes, links, paths, variables, events and metrics are those of the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from ci import generated_docs
from mso.config import Config, load
from mso.protocol.messages import healthcheck_pb2, lifecycle_pb2

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROTOCOL = DOCS / "protocol.md"
CONFIGURATION = DOCS / "configuration.md"
TROUBLESHOOTING = DOCS / "troubleshooting.md"
PAGES = sorted(DOCS.rglob("*.md"))
EXAMPLES = sorted(path for path in (DOCS / "examples").iterdir() if path.is_file())
VARIABLES = Config.__dataclass_fields__
NAMES = {field.metadata["variable"] for field in VARIABLES.values()}
PATHS = re.compile(
    r"`((?:mso|tests|ci|docs|benchmarks|java|message_definitions|simulation_components|k8s_cluster_configuration)"
    r"/[\w./-]*)`"
)


def documents() -> list[Path]:
    """Every Markdown file that a reader of the repository finds."""
    folders = ("docs", "java", "simulation_components", "benchmarks", "tests")
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
def test_an_example_stands_in_a_page_word_for_word(example: Path) -> None:
    """Who reads the page reads the program that the tests run."""
    assert any(example.read_text() == text for page in PAGES for _, text in blocks(page))


def test_every_program_in_a_page_is_an_example() -> None:
    """No Python stands there that nobody runs."""
    examples = [example.read_text() for example in EXAMPLES]
    assert [text for page in PAGES for kind, text in blocks(page) if kind == "python" and text not in examples] == []


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


def test_what_is_made_of_the_code_is_what_the_code_says() -> None:
    """Variables, metrics, commands and programs, in docs/ and .env.template."""
    assert [relative(path) for path, text in generated_docs.documents() if path.read_text() != text] == []


@pytest.mark.parametrize("name", sorted(generated_docs.PARTS))
def test_each_table_that_is_made_of_the_code_stands_in_the_reference(name: str) -> None:
    """Once, and with something in it."""
    assert CONFIGURATION.read_text().count(f"<!-- generated: {name} -->") == 1
    assert len(generated_docs.PARTS[name]().splitlines()) > 5


def test_every_variable_says_what_it_means() -> None:
    """In a line that can stand in a table; that a secret is one is said first."""
    for field in VARIABLES.values():
        means = field.metadata["means"]
        assert means
        assert not set(means) & set("|\n"), means
        assert means.startswith("secret;") == (not field.repr), means


def test_the_defaults_in_the_reference_are_those_that_hold() -> None:
    """As an operator writes them."""
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", CONFIGURATION.read_text(), re.MULTILINE))
    assert rows.keys() == NAMES
    written = {"MQTT_PORT": "`1883`", "MSO_RESYNC_SECONDS": "`30`", "KUBERNETES_VERIFY_TLS": "`true`"}
    assert {name: rows[name] for name in written} == written
    assert (rows["SIMULATOR_NAME"], rows["MQTT_USERNAME"]) == ("required", "none")


def test_the_template_is_the_default_configuration() -> None:
    """.env.template names every variable once; filled in where it must be, it changes nothing."""
    template = ROOT / ".env.template"
    names = re.findall(r"^([A-Z_]+)=", template.read_text(), re.MULTILINE)
    assert sorted(names) == sorted(NAMES)
    required = {"SIMULATOR_NAME": "an-so"}
    assert load(required, template) == load(required)


def test_no_document_names_a_variable_that_is_none() -> None:
    """README.md and docs/ name variables of mso or of compose; MQTT_TLS_* stands for those that begin so."""
    composed = {
        name for path in ROOT.glob("docker-compose.*.yml") for name in re.findall(r"\${([A-Z_]+)", path.read_text())
    }
    unknown = {
        (relative(document), name)
        for document in [*ROOT.glob("README.md"), *DOCS.rglob("*.md")]
        for name in re.findall(r"\b((?:MSO|MQTT|LOG|KUBERNETES|SIMULATOR)_[A-Z_]+)", document.read_text())
        if name not in NAMES | composed and not (name.endswith("_") and any(other.startswith(name) for other in NAMES))
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


WORDS_OF_OTHERS = {"0/3 nodes", "Bad user name or password", "Not authorized", "not now"}
"""Quoted in Troubleshooting, and not ours."""


def test_troubleshooting_names_events_and_metrics_that_there_are() -> None:
    """Whoever searches the log for one finds it."""
    text = TROUBLESHOOTING.read_text()
    events = logged_events()
    kinds = "|".join({event.split(".")[0] for event in events})
    named = set(re.findall(rf"`((?:{kinds})\.[a-z_]+)`", text)) - {"ledger.sqlite"}
    assert len(named) > 30
    assert named - events == set()
    metrics = {name for name, *_ in generated_docs.exposed()}
    assert set(re.findall(r"`(mso_[a-z_]+)`", text)) - metrics == set()


def test_troubleshooting_quotes_what_the_service_says() -> None:
    """Word for word, so that it can be searched for; ... stands for what differs."""
    source = " ".join(path.read_text() for path in (ROOT / "mso").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # texts that go on in the next line
    quoted = {
        piece.strip()
        for quote in re.findall(r'"([^"\n]+)"', prose(TROUBLESHOOTING))
        for piece in quote.split("...")
        if " " in piece.strip()
    }
    assert len(quoted) > 20
    assert {piece for piece in quoted - WORDS_OF_OTHERS if piece not in source} == set()


@pytest.mark.parametrize("document", documents(), ids=relative)
def test_every_command_that_is_shown_can_be_typed(document: Path) -> None:
    """The commands of `mso` and their options, in the text and in the blocks."""
    inline = re.findall(r"`(mso [^`]+)`", prose(document))
    typed = [line for kind, text in blocks(document) if kind in ("", "sh", "console") for line in text.splitlines()]
    shown = inline + [found[1] for line in typed if (found := re.match(r"(?:[A-Z_]+=\S* |\S*/)*(mso .+)", line))]
    for command in shown:
        _, name, *words = command.partition("#")[0].split()
        if name.startswith("--"):
            assert name in generated_docs.help_of(), command
        elif name.islower() and "." not in name:
            assert name in generated_docs.commands(), command
            options = [word.partition("=")[0] for word in words if word.startswith("--")]
            assert [option for option in options if option not in generated_docs.help_of(name)] == [], command


def test_every_metric_is_documented() -> None:
    """Its name, its type, the labels that it can be told by, and what it means."""
    told = {name: (kind, labels, meaning) for name, kind, labels, meaning in generated_docs.exposed()}
    assert told["mso_models"][:2] == ("gauge", "`state`: `created`, `running`, `succeeded`, `failed`")
    assert told["mso_kubernetes_requests_total"][:2] == ("counter", "`method`; `status`")
    assert told["mso_deploy_seconds"][:2] == ("histogram", "")
    assert all(meaning and "|" not in meaning for _, _, meaning in told.values())
