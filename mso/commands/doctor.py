"""`mso doctor`: what is wrong with what MSO needs, and what to do about it."""

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from mso import logs
from mso.checkup import Finding, Grade, wrong
from mso.commands import Command, load_configuration
from mso.config import ConfigError
from mso.wording import printable

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {Grade.OK: "green", Grade.SKIPPED: "dim", Grade.WARNING: "yellow", Grade.WRONG: "bold red"}
_CHECK_WIDTH = 20


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, when all is done")


def _doctor(options: argparse.Namespace) -> int:
    logs.configure("CRITICAL", "auto")  # what there is to say is said as findings
    return asyncio.run(_examine(options))


async def _examine(options: argparse.Namespace) -> int:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    findings = []
    async for finding in _findings(options):
        findings.append(finding)
        if not options.json:
            _show(console, finding)
    grades = Counter(finding.grade for finding in findings)
    if options.json:
        print(json.dumps(_as_json(findings), indent=2, ensure_ascii=False))
    else:
        console.print(_verdict(grades))
    return 1 if grades[Grade.WRONG] else 0


async def _findings(options: argparse.Namespace) -> AsyncIterator[Finding]:
    from mso import doctor

    try:
        configuration = load_configuration(options)
    except ConfigError as error:
        for complaint in error.errors:
            yield wrong(doctor.CONFIGURATION, complaint, "see .env.template, or mso help run")
        return
    async for finding in doctor.examine(configuration):
        yield finding


def _show(console: "Console", finding: Finding) -> None:
    from rich.text import Text

    line = Text(f"{finding.grade:<8}", style=_STYLES[finding.grade])
    line.append(f" {finding.check:<{_CHECK_WIDTH}} ", style="default not dim not bold")
    line.append(printable(finding.what), style="default not bold")
    console.print(line)
    if finding.advice:
        console.print(Text(f"{'':{_CHECK_WIDTH + 10}}-> {printable(finding.advice)}"))


def _verdict(grades: Counter[Grade]) -> str:
    parts = [f"{grades[Grade.WRONG]} wrong" if grades[Grade.WRONG] else "nothing is wrong"]
    if warnings := grades[Grade.WARNING]:
        parts.append(f"{warnings} to be mended" if warnings > 1 else "1 to be mended")
    if skipped := grades[Grade.SKIPPED]:
        parts.append(f"{skipped} not looked at")
    return ", ".join(parts)


def _as_json(findings: Iterable[Finding]) -> dict[str, object]:
    told = [
        {"check": one.check, "grade": str(one.grade), "what": one.what, "advice": one.advice or None}
        for one in findings
    ]
    return {"ok": all(one["grade"] != Grade.WRONG for one in told), "checks": told}


DOCTOR = Command(
    name="doctor",
    brief="say what is wrong around MSO, and what to do about it",
    description="""\
Look at everything that MSO needs: the configuration; the broker, whether it lets MSO in and gives back what it says; \
the cluster (who MSO is there, each permission, namespace, whether a pod would be admitted, pull secret, quota, room \
on the nodes, clock), the Docker engine (what it can limit, the network of models, clock), or the file of images; the \
ledger, whether it is whole and takes a transaction; the disk; the HTTP port. And say what is wrong, and what to do \
about it.

It looks as MSO itself would, with its credentials, and disturbs no MSO that runs: it connects to the broker under a \
name of its own, has the cluster create a pod that is not kept, and takes its transaction back. What it may not look \
at it skips. Whatever hangs, it is done within a quarter of a minute.

Not looked at is what nobody can see without doing it: whether the broker lets MSO publish to the simulation \
orchestrators (they would hear it), how large a message it takes, and whether an image can be pulled.""",
    options=_options,
    output="""\
A line for each check with its grade: ok; skipped, it could not be looked at and need not be; warning, it works and \
is better mended; wrong. Below it what to do. With --json one object:

    ok       whether nothing is wrong (true or false)
    checks   a list: check (a name that stays), grade, what, advice (or null)""",
    examples=(
        ("mso doctor", "before the first start, and when something is odd"),
        ("mso doctor --env-file production.env", "of another configuration"),
        ("mso doctor --json | jq '.checks[] | select(.grade == \"wrong\")'", "for another program"),
        ("kubectl -n dots exec deploy/mso -- mso doctor", "in the place of an MSO that runs in a cluster"),
    ),
    exits={0: "nothing is wrong; there may be warnings", 1: "something is"},
    see_also=("run", "status"),
    run=_doctor,
    reads_configuration=True,
)
