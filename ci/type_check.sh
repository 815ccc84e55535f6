#!/usr/bin/env bash
# Types, strictly: the service, the fake parts and the tests.
set -euo pipefail

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
    echo "usage: ci/type_check.sh [mypy arguments]"
    exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ci/prepare_dev_env.sh
exec .venv/bin/mypy "$@"
