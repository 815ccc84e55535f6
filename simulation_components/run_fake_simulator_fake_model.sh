#!/usr/bin/env bash
# Plays a simulation: a fake simulation orchestrator asks the MSO that runs for fake models, and judges what it hears.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")
clients=${MOSQUITTO_DIRECTORY:-$here/mosquitto/generated}/clients

usage="usage: simulation_components/run_fake_simulator_fake_model.sh [options of the fake simulator]

Plays a simulation with the broker of run_mosquitto.sh and the MSO of run_model_services_orchestrator.sh, and says whether all went as
it should (exit status 0, else 1). It speaks as the user so, its models as the user model, as mosquitto/set_up.sh made them. Another
broker is named with MQTT_HOST, MQTT_PORT, MQTT_USERNAME, MQTT_PASSWORD, MQTT_TLS_CA_FILE, and MODEL_ before these for what models are
to use instead; then the set-up of this machine does not count.

  simulation_components/run_fake_simulator_fake_model.sh                               four models, two of which crash
  simulation_components/run_fake_simulator_fake_model.sh --models 20 --run-seconds 5   twenty that succeed
  simulation_components/run_fake_simulator_fake_model.sh year --models 3 --steps 100   a whole simulation, step by step

The options of the fake simulator:
"

"$root/ci/prepare_dev_env.sh"
for argument in "$@"; do
    if [[ "$argument" == -h || "$argument" == --help ]]; then
        echo "$usage"
        exec "$root/.venv/bin/python" -m fake_simulator --help
    fi
done

# Values are taken as they stand. $1: what to put before each name, $2: whose.
take() {
    local name value
    while IFS='=' read -r name value; do
        export "$1$name=$value"
    done <"$clients/$2.env"
}

if [[ -z "${MQTT_HOST:-}${MQTT_USERNAME:-}" ]]; then
    for user in so model; do
        if [[ ! -r "$clients/$user.env" ]]; then
            echo "run_fake_simulator_fake_model: nobody knows how to reach the broker: $clients/$user.env is not there.
Start simulation_components/run_mosquitto.sh, or set MQTT_HOST, MQTT_PORT, MQTT_USERNAME and MQTT_PASSWORD (see --help)" >&2
            exit 1
        fi
    done
    take "" so
    take MODEL_ model
fi
exec "$root/.venv/bin/python" -m fake_simulator "$@"
