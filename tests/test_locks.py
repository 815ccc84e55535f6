"""What the Dockerfiles take from the locks is all that is needed, so a build finds nothing missing."""

import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PARTS = {
    "Dockerfile": {"hatchling"},
    "simulation_components/fake_model/Dockerfile": {"paho-mqtt", "protobuf"},
    "simulation_components/fake_simulator/Dockerfile": {"paho-mqtt", "protobuf", "pyyaml", "rich"},
}
"""What each of them wants for itself; the rest of its list is what these want."""


def closure(names: set[str]) -> set[str]:
    """These distributions and all that they require, on this machine."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting |= {canonicalize_name(requirement.name)} - found
    return found


@pytest.mark.parametrize("dockerfile", PARTS)
def test_a_dockerfile_takes_what_is_needed_from_the_lock(dockerfile: str) -> None:
    """Its list is what it wants and what that requires, each of it locked."""
    text = (ROOT / dockerfile).read_text()
    listed = re.findall(r"sed -n '/\^\\\(([\w|\\-]+)\\\)==/,.*?' ([\w-]+\.txt)", text)
    assert len(listed) == 1
    names = set(listed[0][0].split("\\|"))
    assert names == closure(PARTS[dockerfile])
    locked = set(re.findall(r"^([\w-]+)==", (ROOT / listed[0][1]).read_text(), re.MULTILINE))
    assert names <= locked
