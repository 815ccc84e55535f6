"""What the documents say of the code, made of the code: variables, metrics, commands, programs.

    ci/generated_docs.py            writes .env.template, docs/commands.md, and what stands between markers under docs/
    ci/generated_docs.py --check    writes nothing; fails, and names the file, where that is not what it would write

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`, so that a page reads the same on the site
and as a file. `ci/build_docs.sh` calls this.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import MISSING, Field, fields
from io import StringIO
from pathlib import Path
from textwrap import fill
from typing import Any

from prometheus_client.metrics_core import Metric

from mso import kinds
from mso.cli import COMMANDS, build
from mso.cli import main as mso
from mso.commands.guide import reference
from mso.config import Config
from mso.inventory import Inventory
from mso.observers.metrics import Metrics
from mso.outbox import Outbox

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TEMPLATE = ROOT / ".env.template"
_PART = re.compile(r"(<!-- generated: ([^>]+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_LINK = re.compile(r"\[([^]]+)\]\(([^)#]*)[^)]*\)")

TEMPLATE_HEAD = """\
# The configuration of `mso run`: copy this file to `.env` beside where you start it, or set the same variables in the
# environment, which wins. An empty value means unset. `mso run --check` says what is wrong and starts nothing.
# What is said here and in docs/configuration.md comes from mso/config.py (ci/build_docs.sh writes it).
"""


def template() -> str:
    """.env.template: every variable with what it means, at its default."""
    lines = [TEMPLATE_HEAD]
    for field in fields(Config):
        told = field.metadata
        if told["section"]:
            lines.append(f"\n# --- {told['section']} ---\n")
        means = _sentence(_LINK.sub(lambda link: f"{link[1]} (docs/{link[2] or 'configuration.md'})", told["means"]))
        more = [told["kind"].takes, told["default"] and f"default: {told['default']}"]
        if any(more):
            means += f" ({'; '.join(filter(None, more))})"
        lines.append(fill(means, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n")
        lines.append(f"{told['variable']}={_written(field)}\n")
    return "".join(lines)


def variables() -> str:
    """A table of variables for each section."""
    lines = []
    for field in fields(Config):
        told = field.metadata
        if told["section"]:
            lines += [f"\n### {told['section']}\n", "| variable | default | may be | meaning |", "|---|---|---|---|"]
        default = told["default"] or (f"`{_written(field)}`" if _written(field) else "none")
        lines.append(f"| `{told['variable']}` | {default} | {told['kind'].takes} | {told['means']} |")
    return "\n".join(lines)


def _written(field: Field[Any]) -> str:
    """The default as an operator writes it; empty where there is none to be written."""
    match field.default:
        case None | "":
            return ""
        case _ if field.default is MISSING:
            return ""
        case bool() if field.metadata["kind"] is kinds.SET:
            return ""  # a word that says no would be a word all the same
        case bool() as switch:
            return str(switch).lower()
        case float() as number:
            return f"{number:g}"
        case tuple() as words:
            return ",".join(words)
        case other:
            return str(other)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] if text[0].islower() else text


def metrics() -> str:
    """A table of the metrics of the service, without those of the process and of Python."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {kind} | {labels} | {meaning} |" for name, kind, labels, meaning in exposed()]
    return "\n".join(lines)


def exposed() -> Iterator[tuple[str, str, str, str]]:
    """Name, type, labels and meaning of each metric."""
    registry = Metrics(Inventory(), Outbox())
    registry.note_listing()
    known = {metric.name: metric for metric in registry.registry.collect()}
    registry.answered("GET", "200")  # a label whose values are not known beforehand has a name all the same
    for metric in registry.registry.collect():
        if metric.name.startswith("mso_"):
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            yield name, metric.type, _labels(metric, known[metric.name]), metric.documentation


def _labels(metric: Metric, known: Metric) -> str:
    names = dict.fromkeys(name for sample in metric.samples for name in sample.labels if name != "le")
    told = []
    for name in names:
        values = dict.fromkeys(sample.labels[name] for sample in known.samples)
        told.append(f"`{name}`: {', '.join(f'`{value}`' for value in values)}" if values else f"`{name}`")
    return "; ".join(told)


def commands() -> list[str]:
    """The commands of `mso`."""
    return [command.name for command in COMMANDS]


def help_of(*command: str) -> str:
    """What `mso [COMMAND] --help` prints."""
    printed = StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        mso([*command, "--help"])
    return printed.getvalue()


def program(path: str) -> str:
    """A file of the repository, whole."""
    language = {".py": "python", ".yaml": "yaml", ".json": "json", ".sh": "sh"}[Path(path).suffix]
    return f"```{language}\n{(ROOT / path).read_text()}```"


PARTS: dict[str, Callable[[], str]] = {"variables": variables, "metrics": metrics}


def renewed(text: str) -> str:
    """A document with its generated parts as they are now. Raises KeyError for one that nobody makes."""

    def part(found: re.Match[str]) -> str:
        begin, name, _, end = found.groups()
        content = program(name.removeprefix("file ")) if name.startswith("file ") else PARTS[name]()
        return f"{begin}\n{content.strip()}\n\n{end}"

    return _PART.sub(part, text)


def documents() -> Iterator[tuple[Path, str]]:
    """Every file with something generated in it, and what it should be."""
    yield TEMPLATE, template()
    yield DOCS / "commands.md", reference(build()[1].values())
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text()
        if "<!-- generated: " in text:
            yield path, renewed(text)


def main() -> int:
    parser = argparse.ArgumentParser(description="write what the documents say of the code")
    parser.add_argument("--check", action="store_true", help="change nothing, and fail where something would change")
    check = parser.parse_args().check
    stale = [(path, text) for path, text in documents() if path.read_text() != text]
    for path, text in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is not what the code says: run ci/build_docs.sh, and commit the result")
        else:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
