#!/usr/bin/env bash
# The tests that need nothing but this machine: no broker, no cluster.
set -euo pipefail

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
    echo "usage: ci/test_unit.sh [pytest arguments]    all tests but those under tests/integration, cluster, docker and images"
    exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ci/prepare_dev_env.sh
exec .venv/bin/python -m pytest --ignore=tests/integration --ignore=tests/cluster --ignore=tests/docker --ignore=tests/images "$@"
