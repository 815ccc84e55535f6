#!/usr/bin/env bash
# Mosquitto on this machine, as simulations want it; set up on the first start.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
generated=${MOSQUITTO_DIRECTORY:-$here/mosquitto/generated}
image=eclipse-mosquitto:2

usage="usage: simulation_components/run_mosquitto.sh [options]

Runs Mosquitto until Ctrl-C or SIGTERM, with the users, rights and settings that simulations want (docs/broker.md); it keeps what it
knows from one run to the next. The first start makes the passwords (mosquitto/set_up.sh). TLS from the moment on at which
mosquitto/make_certificates.sh has made a certificate. Takes the mosquitto of this machine, or else Docker's $image.

  --address A   listen at this address of this machine (127.0.0.1: reached from here only; 0.0.0.0: from everywhere)
  --port N      listen on this port, from now on (1883; with TLS 8883)
  --docker      take Docker also where there is a mosquitto

  simulation_components/run_mosquitto.sh
  simulation_components/run_mosquitto.sh --address 0.0.0.0"

fail() {
    echo "run_mosquitto: $*" >&2
    exit 1
}

address=127.0.0.1
set_up=(--quiet)
docker=false
while [[ $# -gt 0 ]]; do
    case "$1" in
        -h | --help)
            echo "$usage"
            exit 0
            ;;
        --docker)
            docker=true
            shift
            continue
            ;;
        --address | --port) [[ -n "${2:-}" ]] || { echo "run_mosquitto: $1 wants a value (see --help)" >&2; exit 2; } ;;
        *)
            echo "run_mosquitto: unknown argument $1 (see --help)" >&2
            exit 2
            ;;
    esac
    case "$1" in
        --address) address=$2 ;;
        --port) set_up+=(--port "$2") ;;
    esac
    shift 2
done
[[ "$address" =~ ^[A-Za-z0-9.:_-]+$ ]] || fail "--address wants an address of this machine, not '$address'"

PATH="$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
command -v mosquitto >/dev/null || docker=true
if $docker && ! docker info >/dev/null 2>&1; then
    fail "no Docker engine answers, and it is wanted with --docker or where there is no mosquitto: apt-get install mosquitto, brew install mosquitto"
fi

umask 077
first=false
[[ -e "$generated/broker/passwords" ]] || first=true
"$here/mosquitto/set_up.sh" "${set_up[@]}"
broker=$(cd "$generated/broker" && pwd -P)
port=$(sed -n 's/^listener //p' "$broker/mosquitto.conf")
if $first; then
    echo "The passwords are made; $here/mosquitto/set_up.sh prints what each client needs. To try it, in another terminal each:" >&2
    echo "    simulation_components/mosquitto/set_up.sh --quiet --env .env && ./run_model_services_orchestrator.sh" >&2
    echo "    simulation_components/run_fake_simulator_fake_model.sh" >&2
fi

cd "$broker" # the configuration names its files from here
if $docker; then
    owner=$(awk '{ print $3 ":" $4 }' <<<"$(ls -ldn .)") # who may read all that is here
    exec docker run --rm --interactive --user "$owner" --publish "$address:$port:$port" --volume "$broker:/mosquitto/config" \
        --workdir /mosquitto/config "$image" mosquitto -c mosquitto.conf
fi
sed "s/^listener .*/& $address/" mosquitto.conf >run.conf
chmod 644 run.conf # nothing in it is secret, and whoever Mosquitto becomes reads it again with SIGHUP
# A model is a connection: as many as this machine allows.
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true
exec mosquitto -c run.conf
