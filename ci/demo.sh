#!/usr/bin/env bash
# A whole simulation on this machine: broker, orchestrators and models, without Docker and without a cluster.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
"$root/ci/prepare_dev_env.sh"
exec "$root/.venv/bin/mso" demo "$@"
