"""The site of the documents, as a reader has it: built strictly, whole, and without anything from elsewhere."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from ci import site_hooks
from tests.test_docs import DOCS, ROOT

pytestmark = [pytest.mark.process, pytest.mark.slow]

DIRECTORIES = ("ci", "docs", "java", "k8s_cluster_configuration", "message_definitions", "simulation_components")
FILES = ("*.md", "*.yml", "*.sh", "Dockerfile", ".env.template", "LICENSE")
"""What pages lead to, and are made of."""


def build(directory: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=directory,
        env={"NO_MKDOCS_2_WARNING": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site") / "site"
    built = build(ROOT, site)
    assert built.returncode == 0, built.stderr
    return site


class Page(HTMLParser):
    """What a page loads, where it leads to, and what it can be linked by."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads_to: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("script", "img", "iframe", "source") and "src" in given:
            self.loads.append(given["src"])
        elif tag == "link" and "href" in given and given.get("rel") != "canonical":
            self.loads.append(given["href"])
        elif tag == "a" and "href" in given:
            self.leads_to.append(given["href"])
        if "id" in given:
            self.anchors.add(given["id"])


def pages(site: Path) -> Iterator[tuple[Path, Page]]:
    for path in site.rglob("*.html"):
        yield path, Page(path)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    """It is readable without a network, and tells nobody who reads it."""
    loaded = {source for _, page in pages(site) for source in page.loads}
    assert loaded
    assert {source for source in loaded if re.match(r"(\w+:)?//", source)} == set()
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text()), style


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    """To a file that is there, and to a place in it."""
    known = {path.resolve(): page for path, page in pages(site)}
    broken = set()
    for path, page in known.items():
        if path.name == "404.html":  # its links begin at the root of whoever serves the site
            continue
        for link in page.leads_to:
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = unquote(link).partition("#")
            target = (path.parent / name).resolve() if name else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists() or (anchor and anchor not in known[target].anchors):
                broken.add(f"{path.name}: {link}")
    assert broken == set()


def test_what_pages_link_to_beside_docs_is_part_of_the_site(site: Path) -> None:
    """Documents as pages, files as they are."""
    assert (site / "repository" / "CONTRIBUTING.html").exists()
    assert (site / "repository" / "simulation_components" / "index.html").exists()
    for name in (".env.template", "LICENSE", "message_definitions/lifecycle.proto"):
        assert (site / "repository" / name).read_bytes() == (ROOT / name).read_bytes()


def test_every_page_is_in_the_navigation(site: Path) -> None:
    """From the front page each is one of the entries."""
    front = Page(site / "index.html")
    reachable = {link.partition("#")[0] for link in front.leads_to}
    written = {str(path.relative_to(DOCS).with_suffix(".html")) for path in DOCS.rglob("*.md")}
    assert {name.replace("README.html", "index.html") for name in written} - reachable == set()


@pytest.mark.parametrize(
    ("broken", "said"),
    (
        ("[one](nowhere.md)", "nowhere.md"),
        ("[one](protocol.md#nowhere)", "#nowhere"),
        ("[one](../nowhere.md)", "nowhere.md"),
        ("[one](../CONTRIBUTING.md#nowhere)", "#nowhere"),
    ),
)
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path, broken: str, said: str) -> None:
    """In docs/ and out of it, to a page and to a place in one."""
    for name in DIRECTORIES:
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("target", "generated", "__pycache__")
        )
    for file in (path for pattern in FILES for path in ROOT.glob(pattern)):
        shutil.copy(file, tmp_path)
    with (tmp_path / "docs" / "concepts.md").open("a") as page:
        page.write(f"\n{broken}\n")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert said in built.stderr


@pytest.mark.parametrize(
    ("link", "place", "target"),
    (
        ("../CONTRIBUTING.md", "docs/protocol.md", "CONTRIBUTING.md"),
        ("../../CHANGELOG.md", "docs/operate/upgrade.md", "CHANGELOG.md"),
        ("docs/protocol.md", "CONTRIBUTING.md", "docs/protocol.md"),
        ("protocol.md", "docs/concepts.md", "docs/protocol.md"),
        ("../../elsewhere.md", "docs/concepts.md", None),
    ),
)
def test_a_link_means_what_it_means_in_the_repository(link: str, place: str, target: str | None) -> None:
    """Seen from the file that it stands in."""
    assert site_hooks.resolved(link, place) == target


@pytest.mark.parametrize("place", ("docs/protocol.md", "CONTRIBUTING.md", "simulation_components/README.md"))
def test_a_place_on_the_site_tells_the_file(place: str) -> None:
    """There and back."""
    assert site_hooks.repository_path(site_hooks.site_uri(place)) == place
