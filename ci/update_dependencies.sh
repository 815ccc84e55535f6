#!/usr/bin/env bash
# Locks the dependencies of pyproject.toml, with hashes and for every platform: requirements.txt holds what runs the
# service, dev-requirements.txt that and the tools. With --check, only tells (offline) whether they still fit.
set -euo pipefail

usage="usage: ci/update_dependencies.sh [PACKAGE...]   lock the newest versions, or move only these packages
       ci/update_dependencies.sh --check        change nothing; fail when the locks do not satisfy pyproject.toml"

cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
    -h | --help)
        echo "$usage"
        exit 0
        ;;
    --check)
        ci/prepare_dev_env.sh
        exec .venv/bin/python - <<'PYTHON'
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def locked(path: str) -> dict[str, list[str]]:
    """The version or versions (one a platform) of each package in a lock."""
    versions: dict[str, list[str]] = {}
    for line in Path(path).read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            name, _, rest = line.partition("==")
            versions.setdefault(canonicalize_name(name), []).append(rest.split()[0])
    return versions


project = tomllib.loads(Path("pyproject.toml").read_text())
runtime = [Requirement(text) for text in project["project"]["dependencies"]]
tools = [Requirement(text) for text in project["dependency-groups"]["dev"]]
locks = {path: locked(path) for path in ("requirements.txt", "dev-requirements.txt")}
wrong = [
    f"{path} does not satisfy {requirement}"
    for path, requirements in (("requirements.txt", runtime), ("dev-requirements.txt", runtime + tools))
    for requirement in requirements
    if not any(requirement.specifier.contains(version) for version in locks[path].get(canonicalize_name(requirement.name), []))
]
wrong += [
    f"{name} differs between requirements.txt and dev-requirements.txt"
    for name, versions in locks["requirements.txt"].items()
    if versions != locks["dev-requirements.txt"].get(name)
]
if wrong:
    sys.exit("\n".join([*wrong, "run ci/update_dependencies.sh and commit the result"]))
PYTHON
        ;;
    -*)
        echo "$usage" >&2
        exit 2
        ;;
esac

upgrade=()
for package in "$@"; do
    upgrade+=(--upgrade-package "$package")
done
[[ $# -gt 0 ]] || upgrade=(--upgrade)

# The lock may be what is broken, so uv need not come from the environment that is made of it.
uv=.venv/bin/uv
[[ -x $uv ]] || uv=$(command -v uv) || { ci/prepare_dev_env.sh && uv=.venv/bin/uv; }

lock() {
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header "$@"
}
lock "${upgrade[@]}" pyproject.toml --group dev --output-file dev-requirements.txt
# The service runs on exactly what it was tested with.
lock --constraints dev-requirements.txt pyproject.toml --output-file requirements.txt --upgrade
