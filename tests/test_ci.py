"""The workflows of the two forges: they prepare machines, and whatever checks anything is a command under ci/."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github" / "workflows" / "ci.yml"
GITLAB = ROOT / ".gitlab-ci.yml"
NO_JOBS = ("workflow", "variables", "default", "stages", "include")
"""The keywords of GitLab beside which everything else is a job; one with a dot is the part of others."""
CHECKS = {"ci/test.sh", "ci/test_java.sh", "ci/build_docker.sh", "ci/build_docs.sh --check"}


def github() -> Iterator[tuple[str, str]]:
    """Each command with its job."""
    for name, job in yaml.safe_load(GITHUB.read_text())["jobs"].items():
        for step in job["steps"]:
            if "run" in step:
                yield name, step["run"]


def gitlab() -> Iterator[tuple[str, str]]:
    jobs: dict[str, Any] = yaml.safe_load(GITLAB.read_text())
    for name, job in jobs.items():
        if name not in NO_JOBS and not name.startswith("."):
            for line in job["script"]:
                yield name, line


@pytest.mark.parametrize("commands", (github, gitlab))
def test_a_forge_calls_nothing_but_our_commands(commands: Any) -> None:
    """Each one is there, can be run, and is all that its job does; and the two forges check the same."""
    called = list(commands())
    assert {command for _, command in called} == CHECKS
    assert len(called) == len(CHECKS)
    for _, command in called:
        program = ROOT / command.split()[0]
        assert program.is_file(), f"{command} is not there"
        assert os.access(program, os.X_OK), f"{command} cannot be run"


def test_github_gives_a_job_no_more_than_it_needs() -> None:
    """It may read the source, takes no action but GitHub's own, and each of these in a version that is named."""
    workflow = yaml.safe_load(GITHUB.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        for step in job["steps"]:
            name, _, version = step.get("uses", "actions/none@v0").partition("@")
            assert name.startswith("actions/")
            assert version
