#!/usr/bin/env bash
# The Model Services Orchestrator as a process of this machine: makes .venv where there is none, takes .env, and serves.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

usage="usage: ./run_model_services_orchestrator.sh [--env-file FILE] [options of mso run]

Serves until Ctrl-C or SIGTERM; models run on, and are followed again by the next start. Takes the configuration from the file .env
beside this script, or from FILE, and from the environment, which wins. Relative paths in it begin beside this script.

  ./run_model_services_orchestrator.sh --check    say what is wrong with the configuration, and start nothing

The options of mso run:
"

fail() {
    echo "run_model_services_orchestrator: $*" >&2
    exit 1
}

env_file=$root/.env
options=()
while [[ $# -gt 0 ]]; do
    case "$1" in
        -h | --help)
            "$root/ci/prepare_dev_env.sh"
            echo "$usage"
            exec "$root/.venv/bin/mso" run --help
            ;;
        --env-file)
            [[ -n "${2:-}" ]] || fail "--env-file wants a file"
            env_file=$2
            shift
            ;;
        --env-file=*) env_file=${1#*=} ;;
        *) options+=("$1") ;;
    esac
    shift
done
[[ "$env_file" == /* ]] || env_file=$PWD/$env_file
if [[ ! -f "$env_file" ]]; then
    fail "there is no $env_file. Either one that goes with simulation_components/run_mosquitto.sh and local models:
    $root/simulation_components/mosquitto/set_up.sh --quiet --env '$env_file'
or one of your own, in which every variable is explained:
    cp '$root/.env.template' '$env_file'"
fi

"$root/ci/prepare_dev_env.sh"
cd "$root"
exec "$root/.venv/bin/mso" run --env-file "$env_file" ${options[@]+"${options[@]}"}
