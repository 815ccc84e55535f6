"""What is written by hand under java/ fits the rest. Whether it works, ci/test_java.sh asks."""

import re
import textwrap
from pathlib import Path
from xml.etree import ElementTree

from packaging.version import Version

import mso
from tests.protocol import golden

JAVA = Path(__file__).parents[1] / "java"
MESSAGES = JAVA / "mso-messages"
README = JAVA / "README.md"
MAVEN = "{http://maven.apache.org/POM/4.0.0}"


def pom(directory: Path) -> ElementTree.Element:
    return ElementTree.parse(directory / "pom.xml").getroot()  # noqa: S314 - a file of ours


def poms() -> list[ElementTree.Element]:
    """That of the parent, and those of its modules."""
    parent = pom(JAVA)
    return [parent, *(pom(JAVA / str(module.text)) for module in parent.iter(f"{MAVEN}module"))]


def text(root: ElementTree.Element, path: str) -> str:
    found = root.findtext("/".join(f"{MAVEN}{name}" for name in path.split("/")))
    assert found, path
    return found


def test_java_has_the_version_of_mso() -> None:
    """One release, one number, also where the README names it."""
    parent, *modules = poms()
    assert len(modules) == 2
    assert text(parent, "version") == mso.__version__
    assert [text(module, "parent/version") for module in modules] == [mso.__version__] * 2
    assert re.findall(r"<version>(.*)</version>", README.read_text()) == [mso.__version__]


def test_the_runtime_is_one_that_the_generated_classes_load_in() -> None:
    """They refuse a runtime that is older than their protoc; another major version may do without what they need."""
    sources = [path.read_text() for path in (MESSAGES / "src" / "main").rglob("*.java")]
    generated = {line for source in sources for line in re.findall(r"^// Protobuf Java Version: (.+)$", source, re.M)}
    (protoc,) = map(Version, generated)
    runtime = Version(text(pom(JAVA), "properties/protobuf.version"))
    assert runtime.major == protoc.major
    assert runtime >= protoc, f"protobuf.version of java/pom.xml has to be {protoc}, as the README says it"
    assert f"`protobuf-java` {runtime}." in README.read_text()


def test_no_plugin_of_maven_is_whatever_is_newest() -> None:
    """Each has its version, in one place: the parent."""
    parent, *modules = poms()
    pinned = {
        text(plugin, "artifactId"): text(plugin, "version")
        for plugin in parent.findall(f"{MAVEN}build/{MAVEN}pluginManagement/{MAVEN}plugins/{MAVEN}plugin")
    }
    used = {text(plugin, "artifactId") for root in (parent, *modules) for plugin in root.iter(f"{MAVEN}plugin")}
    of_every_build = ("clean", "compiler", "deploy", "install", "jar", "resources", "surefire")
    assert pinned.keys() == used | {f"maven-{name}-plugin" for name in of_every_build}
    assert not any(plugin.find(f"{MAVEN}version") for root in modules for plugin in root.iter(f"{MAVEN}plugin"))


def test_java_reads_the_bytes_that_python_reads() -> None:
    """One file for both."""
    named = text(pom(MESSAGES), "properties/mso.golden").replace("${project.basedir}", str(MESSAGES))
    assert Path(named).resolve() == golden.PATH


def test_the_java_of_the_readme_is_what_its_test_runs() -> None:
    """Word for word."""
    (path,) = MESSAGES.rglob("ReadmeTest.java")
    tested = re.search(r"// README: begin\n(.*) +// README: end", path.read_text(), re.DOTALL)
    assert tested
    assert re.findall(r"^```java\n(.*?)^```$", README.read_text(), re.M | re.DOTALL) == [textwrap.dedent(tested[1])]
