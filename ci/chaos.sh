#!/usr/bin/env bash
# Many simulations through a real broker and a real MSO, while both are killed, stopped and cut off: is anything lost?
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ci/prepare_dev_env.sh
PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin" exec .venv/bin/python -m tests.chaos "$@"
