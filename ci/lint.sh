#!/usr/bin/env bash
# Lint, format and import rules. With --fix, mends what can be mended first.
set -euo pipefail

case "${1:-}" in
    -h | --help)
        echo "usage: ci/lint.sh [--fix]    lint, format and import rules; --fix mends what can be mended"
        exit 0
        ;;
    "" | --fix) ;;
    *)
        echo "lint: unknown argument $1 (see --help)" >&2
        exit 2
        ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ci/prepare_dev_env.sh

if [[ "${1:-}" == --fix ]]; then
    .venv/bin/ruff check --fix --quiet . || true # what is left is reported below
    .venv/bin/ruff format --quiet .
fi
failed=0
.venv/bin/ruff check . || failed=1
.venv/bin/ruff format --check . || failed=1
.venv/bin/lint-imports --no-logo || failed=1
exit "$failed"
