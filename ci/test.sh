#!/usr/bin/env bash
# Everything that continuous integration asks: lint, types, generated code, Java, locks, docs, unit tests, all other tests.
set -euo pipefail

usage="usage: ci/test.sh [pytest arguments]

Checks lint, types, generated code, locks and docs, builds and tests java/ where there is a Maven, then runs the unit
tests and all other tests, and ends with the coverage and 'N passed, N failed'. Broker tests use the Mosquitto of this
machine, installed if it may be, or one in Docker; database tests its PostgreSQL and tests of alerts its promtool,
installed if they may be; cluster tests the cluster of MSO_TEST_KUBECONFIG, or one of kind; tests of images and containers
the Docker engine of this machine.
With paths among the arguments, only the tests there are run, after the same checks.

  ci/test.sh -x -k retained
  ci/test.sh tests/test_inventory.py"

for argument in "$@"; do
    if [[ "$argument" == -h || "$argument" == --help ]]; then
        echo "$usage"
        exit 0
    fi
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
results=$(mktemp -d)
policy= # set when this script made the file that keeps packages from starting services
as_root=()
cluster_down=() # what ends the cluster, if this script began it
docker_down=()  # what ends the Docker engine, if this script began it
shared=         # the directory of this machine that a cluster of this script sees

clean_up() {
    [[ ${#cluster_down[@]} == 0 ]] || "${cluster_down[@]}" >/dev/null 2>&1 || true
    [[ ${#docker_down[@]} == 0 ]] || "${docker_down[@]}" >/dev/null 2>&1 || true
    rm -rf "$results" ${shared:+"$shared"}
    [[ -z "$policy" ]] || ${as_root[@]+"${as_root[@]}"} rm -f "$policy"
}
trap clean_up EXIT

# Announces a step, runs it, and says how long it took. The first step that fails ends the script.
step() {
    local name=$1 started=$SECONDS status=0
    shift
    echo "== $name"
    "$@" || status=$?
    if [[ $status != 0 ]]; then
        echo "== $name: failed after $((SECONDS - started)) s" >&2
        exit "$status"
    fi
    echo "== $name: $((SECONDS - started)) s"
}

# Installs a Debian package where that may be done. Only its programs are wanted, not a server that runs from now on.
apt_install() {
    local package=$1
    command -v apt-get >/dev/null || return 1
    if [[ $(id -u) != 0 ]]; then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    local apt=(${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' | ${as_root[@]+"${as_root[@]}"} tee "$policy" >/dev/null
        ${as_root[@]+"${as_root[@]}"} chmod 755 "$policy"
    fi
    echo "installing $package with apt-get"
    "${apt[@]}" install -y "$package" >/dev/null 2>&1 \
        || { "${apt[@]}" update >/dev/null 2>&1 && "${apt[@]}" install -y "$package" >/dev/null 2>&1; } \
        || return 1
    if [[ -d /run/systemd/system ]]; then
        ${as_root[@]+"${as_root[@]}"} systemctl --quiet disable --now "$package" 2>/dev/null || true
    fi
    hash -r
}

# Tests of images and containers take the Docker engine of this machine, or the one that
# MSO_TEST_DOCKER_COMMAND starts (and stops, with the argument `down`).
see_to_docker() {
    if [[ -n "${MSO_TEST_DOCKER_COMMAND:-}" ]]; then
        docker info >/dev/null 2>&1 || docker_down=("$MSO_TEST_DOCKER_COMMAND" down)
        "$MSO_TEST_DOCKER_COMMAND" || return 1 # also where an engine answers: it sees to the base images as well
    elif ! command -v docker >/dev/null; then
        echo "docker tests are skipped: no Docker; install it"
        return
    elif ! docker info >/dev/null 2>&1; then
        echo "docker tests are skipped: no Docker engine answers; start it"
        return
    fi
    export MSO_TEST_DOCKER=yes
    echo "docker tests use the Docker engine of this machine"
}

see_to_mosquitto() {
    PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
    export PATH
    if command -v mosquitto >/dev/null || { apt_install mosquitto && command -v mosquitto >/dev/null; }; then
        echo "broker tests use $(command -v mosquitto)"
    elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
        export MSO_TEST_MOSQUITTO=docker
        echo "broker tests use Mosquitto in Docker"
    elif [[ $(uname) == Darwin ]]; then
        echo "broker tests are skipped: no Mosquitto; install it (brew install mosquitto) or start Docker"
    else
        echo "broker tests are skipped: no Mosquitto; install it (as root: apt-get install mosquitto) or start Docker"
    fi
}

postgresql() {
    .venv/bin/python -c 'import sys; from tests.postgres import available; sys.exit(not available())'
}

# Tests of a ledger on a server take the one of MSO_TEST_POSTGRESQL_URL, or start one of this machine's programs.
see_to_postgresql() {
    if [[ -n "${MSO_TEST_POSTGRESQL_URL:-}" ]]; then
        echo "database tests use the server of MSO_TEST_POSTGRESQL_URL"
    elif postgresql || { apt_install postgresql && postgresql; }; then
        echo "database tests start PostgreSQL"
    else
        echo "database tests use SQLite only: no PostgreSQL; install it (as root: apt-get install postgresql), or set MSO_TEST_POSTGRESQL_URL"
    fi
}

# Alerts are played to the tool that comes with Prometheus.
see_to_promtool() {
    if command -v promtool >/dev/null || { apt_install prometheus && command -v promtool >/dev/null; }; then
        echo "alerts are tested with $(command -v promtool)"
    else
        echo "tests of alerts are skipped: no promtool; install it (as root: apt-get install prometheus)"
    fi
}

# Its node has the image of the fake model, in which there is a Python as well, and sees a directory of this machine.
make_kind_cluster() {
    local image=mso-test-fake-model:1
    shared=$(mktemp -d /var/tmp/mso-test.XXXXXX)
    MSO_TEST_KUBECONFIG=$results/kubeconfig
    cluster_down=(kind delete cluster --name mso-test --kubeconfig "$MSO_TEST_KUBECONFIG")
    kind create cluster --name mso-test --kubeconfig "$MSO_TEST_KUBECONFIG" --wait 180s --config - <<KIND || return 1
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraMounts: [{ hostPath: $shared, containerPath: $shared }]
KIND
    docker build --quiet --file simulation_components/fake_model/Dockerfile --tag "$image" . || return 1
    kind load docker-image "$image" --name mso-test || return 1
    export MSO_TEST_FAKE_MODEL_IMAGE=$image MSO_TEST_PYTHON_IMAGE=$image
    docker build --quiet --tag mso-test:1 . || return 1
    kind load docker-image mso-test:1 --name mso-test || return 1
    export MSO_TEST_MSO_IMAGE=mso-test:1
    if [[ $(uname) == Linux ]]; then # elsewhere the node is in a virtual machine
        MSO_TEST_GATEWAY=$(docker network inspect kind --format '{{range .IPAM.Config}}{{println .Gateway}}{{end}}' \
            | grep -m1 -F .) || return 1 # the one of IPv4
        export MSO_TEST_GATEWAY MSO_TEST_SHARED_DIRECTORY=$shared
    fi
}

# The cluster tests take any cluster: the one of MSO_TEST_KUBECONFIG, one that MSO_TEST_CLUSTER_COMMAND makes (up,
# kubeconfig, down; some tests also want its faults: stop, start, signal), or one of kind.
see_to_cluster() {
    if [[ -n "${MSO_TEST_KUBECONFIG:-}" ]]; then
        echo "cluster tests use $MSO_TEST_KUBECONFIG"
    elif [[ -n "${MSO_TEST_CLUSTER_COMMAND:-}" ]]; then
        if ! "$MSO_TEST_CLUSTER_COMMAND" status 2>/dev/null | grep -q "apiserver running"; then
            cluster_down=("$MSO_TEST_CLUSTER_COMMAND" down)
            "$MSO_TEST_CLUSTER_COMMAND" up || return 1
        fi
        MSO_TEST_KUBECONFIG=$("$MSO_TEST_CLUSTER_COMMAND" kubeconfig)
        echo "cluster tests use the cluster of $MSO_TEST_CLUSTER_COMMAND"
    elif command -v kind >/dev/null && command -v kubectl >/dev/null && docker info >/dev/null 2>&1; then
        make_kind_cluster || return 1
        echo "cluster tests use a cluster of kind"
    else
        echo "cluster tests are skipped: no cluster; set MSO_TEST_KUBECONFIG, or install kind and start Docker"
    fi
    export MSO_TEST_KUBECONFIG
}

failed=0

# Runs one part of the tests. A failure is remembered, so that the parts after it are run too.
tests() {
    local part=$1 status=0
    shift
    .venv/bin/python -m pytest --cov --cov-append --cov-report= --junitxml="$results/$part.xml" "$@" || status=$?
    # 5: the arguments select no test of this part
    if [[ $status != 0 && $status != 5 ]]; then
        failed=1
    fi
}

summary() {
    .venv/bin/python - "$results" "$failed" <<'PYTHON'
import sys
from pathlib import Path
from xml.etree import ElementTree

failed = sys.argv[2] == "1"
totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
for path in Path(sys.argv[1]).glob("*.xml"):
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        for name in totals:
            totals[name] += int(suite.get(name, 0))
bad = totals["failures"] + totals["errors"]
if failed and not bad:
    bad = 1  # pytest itself did not get to the end
if not totals["tests"] and not bad:
    print("no tests ran")
    sys.exit(1)
passed = max(0, totals["tests"] - totals["failures"] - totals["errors"] - totals["skipped"])
print(f"{passed} passed, {bad} failed, {totals['skipped']} skipped" if totals["skipped"] else f"{passed} passed, {bad} failed")
sys.exit(bad > 0)
PYTHON
}

step "environment" ci/prepare_dev_env.sh
step "docker" see_to_docker
step "broker" see_to_mosquitto
step "database" see_to_postgresql
step "alerts" see_to_promtool
step "cluster" see_to_cluster
step "lint" ci/lint.sh
step "types" ci/type_check.sh
step "generated messages" ci/build_protobuf_messages.sh --check
step "java messages" ci/test_java.sh
step "locked dependencies" ci/update_dependencies.sh --check
step "docs" ci/build_docs.sh --check

.venv/bin/coverage erase
paths=false
for argument in "$@"; do
    if [[ "$argument" != -* && -e "${argument%%::*}" ]]; then
        paths=true
    fi
done
if $paths; then
    step "tests" tests all "$@"
else
    step "unit tests" tests unit --ignore=tests/integration --ignore=tests/cluster --ignore=tests/docker --ignore=tests/images "$@"
    others=()
    for directory in tests/integration tests/cluster tests/docker tests/images; do
        [[ ! -d $directory ]] || others+=("$directory")
    done
    [[ ${#others[@]} == 0 ]] || step "all other tests" tests others "${others[@]}" "$@"
fi
[[ ! -e .coverage ]] || step "coverage" .venv/bin/coverage report
summary
