"""What the site of the documents shares with the repository: links that lead out of docs/.

A page of docs/ links to what is beside docs/ as a reader of the repository needs it (`../CONTRIBUTING.md`). MkDocs
knows only what is below docs/; so what is linked is made part of the site, under `repository/`, and the links follow. A
document becomes a page, anything else a file. A link to what is not there stays as it is, and fails the strict build.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BESIDE = "repository"
ALWAYS = ("CONTRIBUTING.md", "CHANGELOG.md", "java/README.md", "simulation_components/README.md")
"""Documents that stand in the navigation."""
_FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add whatever is linked from a page, and from what is added."""
    docs = Path(config.docs_dir).relative_to(ROOT)
    wanted = [str(docs / file.src_uri) for file in files if file.src_uri.endswith(".md")] + list(ALWAYS)
    seen: set[str] = set()
    while wanted:
        place = wanted.pop()
        if place in seen:
            continue
        seen.add(place)
        if not place.startswith(f"{docs}/") and files.get_file_from_path(site_uri(place)) is None:
            files.append(File.generated(config, site_uri(place), abs_src_path=str(ROOT / place)))
        if place.endswith(".md"):
            wanted += [target for target in links((ROOT / place).read_text(), place) if (ROOT / target).is_file()]
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of a page from what they are in the repository to what they are on the site."""
    here = repository_path(page.file.src_uri)

    def turned(link: re.Match[str]) -> str:
        target = resolved(link[0], here)
        if target is None or not (ROOT / target).is_file():
            return link[0]
        return os.path.relpath(site_uri(target), os.path.dirname(page.file.src_uri) or ".")  # noqa: PTH120

    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(turned, part) for part in parts[::2]]
    return "".join(parts)


def links(text: str, place: str) -> Iterator[str]:
    """The files of the repository that a document links to."""
    prose: Iterable[str] = _FENCE.split(text)[::2]
    for part in prose:
        for link in _LINK.findall(part):
            if target := resolved(link, place):
                yield target


def resolved(link: str, place: str) -> str | None:
    """What a link in that file leads to, by its path in the repository; None where that is outside."""
    target = os.path.normpath(Path(place).parent / link)
    return None if target.startswith(("..", "/")) else target


def site_uri(place: str) -> str:
    """Where a file of the repository is on the site."""
    if place == "README.md":
        return "index.md"  # the front page says what it says
    return place.removeprefix("docs/") if place.startswith("docs/") else f"{BESIDE}/{place}"


def repository_path(uri: str) -> str:
    """The other way round."""
    return uri.removeprefix(f"{BESIDE}/") if uri.startswith(f"{BESIDE}/") else f"docs/{uri}"
