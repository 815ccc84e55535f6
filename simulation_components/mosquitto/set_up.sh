#!/usr/bin/env bash
# What Mosquitto and its clients need, made on this machine: users with passwords of their own, who may do what, the configuration.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
generated=${MOSQUITTO_DIRECTORY:-$here/generated}

usage="usage: simulation_components/mosquitto/set_up.sh [options]

Makes users with random passwords (mso, so, and one that models share: model), and all that Mosquitto needs to know them, and prints
what each of them needs. Run again it keeps every password, and brings the rest up to date. What it makes is secret and goes into
simulation_components/mosquitto/generated, which git ignores, or into the directory that MOSQUITTO_DIRECTORY names:

  broker/     what Mosquitto reads (mosquitto.conf, passwords as hashes, acl) and keeps (data/)
  clients/    for each user a file with the variables that it needs. Once they are where they belong, these may be deleted

  --so NAME            a user NAME for the simulation orchestrator with this topic name, who cannot speak for another one
  --model [SIM/]NAME   a user for this model, of one simulation or of any, who cannot speak for another one
  --renew USER         a new password for USER
  --remove USER        USER is nobody any more
  --host NAME          where clients find the broker (localhost)
  --port N             where it listens (1883; with the certificate that make_certificates.sh makes, and TLS: 8883)
  --env FILE           write a .env for MSO on this machine, unless there is one
  --quiet              print nothing but errors

A Mosquitto that runs takes up new and removed users with SIGHUP, a new port or certificate with a restart.

  simulation_components/mosquitto/set_up.sh --env .env
  simulation_components/mosquitto/set_up.sh --model heat-pump-0 --model sim-7/battery
  simulation_components/mosquitto/set_up.sh --host broker.example.org"

fail() {
    echo "set_up: $*" >&2
    exit 1
}

wrong() {
    echo "set_up: $* (see --help)" >&2
    exit 2
}

check_name() {
    [[ "$1" =~ ^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$ && "/$1/" != */.*/* ]] \
        || wrong "a user is named with letters, digits, '.', '_' and '-', not '$1'"
}

added=()
renewed=()
removed=()
host=
port=
env_file=
quiet=false
while [[ $# -gt 0 ]]; do
    case "$1" in
        -h | --help)
            echo "$usage"
            exit 0
            ;;
        --quiet)
            quiet=true
            shift
            continue
            ;;
        --so | --model | --renew | --remove | --host | --port | --env) [[ -n "${2:-}" ]] || wrong "$1 wants a value" ;;
        *) wrong "unknown argument $1" ;;
    esac
    case "$1" in
        --so)
            check_name "$2"
            [[ "$2" == "$(tr '[:upper:]' '[:lower:]' <<<"$2")" && "$2" != */* && "$2" != mso && "$2" != model ]] \
                || wrong "the topic name of a simulation orchestrator is in lower case, has no '/', and is neither mso nor model, not '$2'"
            added+=("so $2")
            ;;
        --model)
            check_name "$2"
            added+=("model $2")
            ;;
        --renew) renewed+=("$2") ;;
        --remove) removed+=("$2") ;;
        --host) host=$2 ;;
        --port)
            [[ "$2" =~ ^[0-9]{1,5}$ && "$2" -ge 1 && "$2" -le 65535 ]] || wrong "--port wants a number from 1 to 65535, not '$2'"
            port=$2
            ;;
        --env) env_file=$2 ;;
    esac
    shift 2
done

umask 077
users=$generated/broker/users # a line each: role, name
passwords=$generated/broker/passwords
mkdir -p "$generated/broker/data" "$generated/clients" 2>/dev/null || true
if [[ ! -w "$generated/broker" || ! -w "$generated/clients" ]]; then
    fail "cannot write to $generated. If a container of Mosquitto took it for its own (it does when it starts as root), take it back:
    sudo chown -R $(id -u):$(id -g) '$generated', and run the container as --user $(id -u):$(id -g)"
fi
generated=$(cd "$generated" && pwd -P)
if command -v flock >/dev/null; then
    exec 9>"$generated/lock"
    flock 9 # run_mosquitto.sh in another terminal calls this too
fi

# --- users ---

role_of() {
    awk -v name="$1" '$2 == name { print $1 }' "$users"
}

client_file() {
    echo "$generated/clients/$1.env"
}

# Values are taken as they stand: letters, digits, and what is in the names of files and hosts.
value() {
    [[ ! -f "$2" ]] || sed -n "s/^$1=//p" "$2"
}

if [[ ! -f "$users" ]]; then
    printf '%s\n' "mso mso" "so so" "model model" >"$users"
    touch "$passwords"
fi
for line in ${added[@]+"${added[@]}"}; do
    name=${line#* }
    role=$(role_of "$name")
    [[ -z "$role" || "$role" == "${line%% *}" && "$name" != "$role" ]] || wrong "there is a user $name already, of the role $role"
    [[ -n "$role" ]] || echo "$line" >>"$users"
done
for name in ${renewed[@]+"${renewed[@]}"} ${removed[@]+"${removed[@]}"}; do
    [[ -n "$(role_of "$name")" ]] || wrong "there is no user $name, but $(awk '{ printf "%s%s", separator, $2; separator = ", " }' "$users")"
done

without() {
    awk -F "$2" -v field="$3" -v name="$1" '$field != name' "$4" >"$4.new"
    mv "$4.new" "$4"
}

for name in ${removed[@]+"${removed[@]}"}; do
    [[ "$name" != mso ]] || wrong "nothing goes without mso; --renew gives it another password"
    without "$name" " " 2 "$users"
    rm -f "$(client_file "$name")"
done
for name in ${renewed[@]+"${renewed[@]}"} ${removed[@]+"${removed[@]}"}; do
    without "$name" : 1 "$passwords"
done

new=() # who has no password yet: `name:password`
while read -r _ name; do
    awk -F : -v name="$name" '$1 == name { found = 1 } END { exit !found }' "$passwords" \
        || new+=("$name:$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')")
done <"$users"
# --- what Mosquitto reads ---

echo "# Made by set_up.sh: change simulation_components/mosquitto/roles instead, and run it again." >"$generated/broker/acl.new"
while read -r role name; do
    simulation=+ model=+ simulator=+
    case "$role $name" in
        "model model" | "so so" | "mso mso") ;;
        "model "*/*) simulation=${name%/*} model=${name#*/} ;;
        "model "*) model=$name ;;
        "so "*) simulator=$name ;;
    esac
    echo "user $name"
    sed -e "/^#/d" -e "s/<so>/$simulator/g" -e "s/<sim>/$simulation/g" -e "s/<model>/$model/g" "$here/roles/$role"
    echo
done <"$users" >>"$generated/broker/acl.new"
mv "$generated/broker/acl.new" "$generated/broker/acl"

mso_file=$(client_file mso)
authority=
if [[ -f "$generated/broker/tls/server.pem" ]]; then
    authority=$generated/clients/ca.pem
fi
: "${host:=$(value MQTT_HOST "$mso_file")}"
: "${host:=localhost}"
if [[ -z "$port" && "$(value MQTT_TLS_CA_FILE "$mso_file")" == "$authority" ]]; then
    port=$(value MQTT_PORT "$mso_file")
fi
: "${port:=$([[ -n "$authority" ]] && echo 8883 || echo 1883)}"

owner=$(awk '{ print $3 ":" $4 }' <<<"$(ls -ldn "$generated/broker")")
{
    echo "# Made by set_up.sh: change simulation_components/mosquitto/mosquitto.conf instead, and run it again."
    sed "s/^listener .*/listener $port/" "$here/mosquitto.conf"
    [[ -z "$authority" ]] || cat "$here/tls.conf"
    if [[ "$owner" == 0:* ]]; then
        echo
        echo "# These files are root's. Where Mosquitto is to be somebody else: chown -R USER broker, and run set_up.sh again."
        echo "user root"
    fi
} >"$generated/broker/mosquitto.conf.new"
mv "$generated/broker/mosquitto.conf.new" "$generated/broker/mosquitto.conf"

# --- what its clients need ---

variables() {
    echo "MQTT_HOST=$host"
    echo "MQTT_PORT=$port"
    echo "MQTT_USERNAME=$1"
    echo "MQTT_PASSWORD=$2"
    [[ -z "$authority" ]] || echo "MQTT_TLS_CA_FILE=$authority"
}

while read -r _ name; do
    file=$(client_file "$name")
    password=$(value MQTT_PASSWORD "$file")
    for line in ${new[@]+"${new[@]}"}; do
        [[ "${line%%:*}" != "$name" ]] || password=${line#*:}
    done
    [[ -n "$password" ]] || continue # its file was taken away, and nobody else knows it
    mkdir -p "$(dirname "$file")"
    variables "$name" "$password" >"$file.new"
    mv "$file.new" "$file"
done <"$users"

# --- the passwords, last: whoever has no hash yet gets another password the next time, and nobody is left without one ---

# Turns lines `name:password` into what Mosquitto wants, from standard input to standard output: an argument would be seen by all.
hash_passwords() {
    if command -v mosquitto_passwd >/dev/null; then
        local file status=0
        file=$(mktemp)
        cat >"$file"
        mosquitto_passwd -U "$file" >&2 && cat "$file" || status=$?
        rm -f "$file"
        return "$status"
    elif command -v python3 >/dev/null; then
        # shellcheck disable=SC2016 # these are Python's
        # PBKDF2 with SHA-512, salt and hash in base64: what mosquitto_passwd of 2.0 writes.
        python3 -Ic '
import base64, hashlib, os, sys
for line in sys.stdin:
    name, _, password = line.rstrip("\n").partition(":")
    salt, rounds = os.urandom(12), 101
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    print(f"{name}:$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}")
'
    else
        fail "neither mosquitto_passwd nor python3 is here to hash the passwords; install one"
    fi
}

if [[ ${#new[@]} -gt 0 ]]; then
    hashed=$(printf '%s\n' "${new[@]}" | hash_passwords) || fail "the passwords could not be hashed (see above)"
    { cat "$passwords" && echo "$hashed"; } >"$passwords.new"
    mv "$passwords.new" "$passwords"
fi

if [[ $(id -u) == 0 ]]; then
    chown -R "$owner" "$generated/broker" # whoever Mosquitto is, it stays the owner
fi

proposal() {
    echo "# The fake parts of a simulation, with models as processes of this machine. Every variable is explained in .env.template."
    echo "SIMULATOR_NAME=fake-so"
    cat "$mso_file"
    echo "MSO_BACKPLANE=local"
    echo "MSO_LOCAL_IMAGES=simulation_components/images.yaml"
}

if [[ -n "$env_file" ]]; then
    [[ -f "$mso_file" ]] || fail "$mso_file is not there any more, and the password of mso with it: --renew mso makes a new one"
    [[ ! -e "$env_file" ]] || fail "$env_file is there already, and stays as it is. The lines for MSO are in $mso_file"
    proposal >"$env_file"
fi
$quiet && exit 0

while read -r role name; do
    file=$(client_file "$name")
    case "$role" in
        mso) echo "The Model Services Orchestrator, in its .env:" ;;
        so) echo "The simulation orchestrator ($name):" ;;
        model) echo "Models ($name), in the environmentVariables that the simulation orchestrator gives them:" ;;
    esac
    if [[ -f "$file" ]]; then
        sed 's/^/    /' "$file"
    else
        echo "    MQTT_USERNAME=$name, and a password that is not kept here any more (--renew $name makes a new one)"
    fi
done <"$users"
echo "The same is in $generated/clients. What Mosquitto needs is in $generated/broker:"
echo "simulation_components/run_mosquitto.sh starts it."
