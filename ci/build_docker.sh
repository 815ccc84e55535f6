#!/usr/bin/env bash
# Builds the images of the service, the fake model and the fake simulation orchestrator (docs/images.md).
set -euo pipefail

usage="usage: ci/build_docker.sh [--prefix PREFIX] [--tag TAG] [--push] [arguments of docker build]

Builds mso, fake_model and fake_simulator, labelled with the version and the revision that they are built from, and prints their names,
one a line. The fake model is also named as the scenarios ask for it.

  --prefix PREFIX   name them PREFIX/mso:TAG and so on
  --tag TAG         instead of the version of mso
  --push            push them, to the registry that the prefix names

What else is given is handed to docker build. Taken from the environment:

  PYTHON_IMAGE        what they are made of (that of the Dockerfiles)
  BUILD_NETWORK       the network of the build, as in docker build --network
  SOURCE_URL          where the source is (the remote origin of git, without user and password)
  SOURCE_DATE_EPOCH   the time that is written into them (now)

  ci/build_docker.sh
  ci/build_docker.sh --prefix registry.example.org/energy --push
  PYTHON_IMAGE=python:3.13-slim-bookworm ci/build_docker.sh --tag try --no-cache"

fail() {
    echo "build_docker: $*" >&2
    exit 1
}

wrong() {
    echo "build_docker: $* (see --help)" >&2
    exit 2
}

prefix=
tag=
push=false
options=()
while [[ $# -gt 0 ]]; do
    case "$1" in
        -h | --help)
            echo "$usage"
            exit 0
            ;;
        --prefix | --tag)
            [[ -n "${2:-}" ]] || wrong "$1 wants a value"
            if [[ "$1" == --tag ]]; then tag=$2; else prefix=${2%/}/; fi
            shift
            ;;
        --push) push=true ;;
        *) options+=("$1") ;;
    esac
    shift
done
if $push && [[ -z "$prefix" ]]; then
    wrong "--push wants --prefix, which names the registry"
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
docker info >/dev/null 2>&1 || fail "no Docker engine answers: install and start Docker"

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' mso/__init__.py)
[[ -n "$version" ]] || fail "mso/__init__.py says no version"
scenario=simulation_components/fake_simulator/scenarios/quickstart.yaml
asked_for=$(sed -n 's/^ *image: *//p' "$scenario" | head -n 1)
[[ -n "$asked_for" ]] || fail "$scenario asks for no image"
revision=$(git rev-parse HEAD 2>/dev/null) || revision=unknown
if [[ "$revision" != unknown && -n "$(git status --porcelain 2>/dev/null)" ]]; then
    revision=$revision-modified
fi
origin=$(git remote get-url origin 2>/dev/null) || origin=
# shellcheck disable=SC2001 # a pattern of the shell cannot say this
source_url=${SOURCE_URL:-$(sed 's#^\(https\{0,1\}://\)[^/]*@#\1#' <<<"$origin")}
if [[ -n "${SOURCE_DATE_EPOCH:-}" ]]; then
    created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r "$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
else
    created=$(date -u +%Y-%m-%dT%H:%M:%SZ)
fi

common=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created")
[[ -z "$source_url" ]] || common+=(--build-arg "SOURCE=$source_url")
[[ -z "${PYTHON_IMAGE:-}" ]] || common+=(--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE")
[[ -z "${BUILD_NETWORK:-}" ]] || common+=(--network "$BUILD_NETWORK")

made=()
build() {
    local dockerfile=$1 names=() name
    shift
    for name in "$@"; do
        names+=(--tag "$name")
    done
    DOCKER_BUILDKIT=1 docker build --file "$dockerfile" "${names[@]}" "${common[@]}" ${options[@]+"${options[@]}"} . >&2 \
        || fail "$dockerfile could not be built (see above)"
    made+=("$@")
}

: "${tag:=$version}"
build Dockerfile "${prefix}mso:$tag"
build simulation_components/fake_model/Dockerfile "${prefix}fake_model:$tag" "$prefix$asked_for"
build simulation_components/fake_simulator/Dockerfile "${prefix}fake_simulator:$tag"
if $push; then
    for name in "${made[@]}"; do
        docker push "$name" >&2 || fail "$name could not be pushed (see above); docker login?"
    done
fi
printf '%s\n' "${made[@]}"
