#!/usr/bin/env bash
# TLS for Mosquitto with an authority of our own: its certificate, one for the broker, and if wanted some for clients.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
generated=${MOSQUITTO_DIRECTORY:-$here/generated}
authority_days=3650
days=730

usage="usage: simulation_components/mosquitto/make_certificates.sh [options] [NAME ...]

Makes a certificate authority, and with it a certificate of the broker for localhost, the name of this machine, and each NAME: a host
name or an IP address at which clients find the broker. From then on Mosquitto speaks TLS only, on port 8883 (docs/broker.md). What
is there already is never overwritten: neither an authority nor a certificate.

  --renew         replace the certificate of the broker; authority and clients stay as they are
  --client USER   a certificate for a client, where the broker is to ask for one (see tls.conf); as often as wanted
  --days N        how long certificates last ($days days; the authority: $authority_days)

It all goes into simulation_components/mosquitto/generated, which git ignores, or into the directory that MOSQUITTO_DIRECTORY names. The
key of the authority, authority/ca.key, signs whatever you want: keep it where nobody finds it; only --renew and --client need it.

  simulation_components/mosquitto/make_certificates.sh broker.example.org 192.0.2.7
  simulation_components/mosquitto/make_certificates.sh --client mso"

fail() {
    echo "make_certificates: $*" >&2
    exit 1
}

wrong() {
    echo "make_certificates: $* (see --help)" >&2
    exit 2
}

clients=()
names=()
renew=false
while [[ $# -gt 0 ]]; do
    case "$1" in
        -h | --help)
            echo "$usage"
            exit 0
            ;;
        --renew) renew=true ;;
        --client)
            [[ "${2:-}" =~ ^[A-Za-z0-9._-]+$ ]] || wrong "--client wants a name of letters, digits, '.', '_' and '-'"
            clients+=("$2")
            shift
            ;;
        --days)
            [[ "${2:-}" =~ ^[1-9][0-9]{0,4}$ ]] || wrong "--days wants a number"
            days=$2
            shift
            ;;
        -*) wrong "unknown argument $1" ;;
        *)
            [[ "$1" =~ ^[A-Za-z0-9.:_-]+$ ]] || wrong "'$1' is neither a host name nor an IP address"
            names+=("$1")
            ;;
    esac
    shift
done
command -v openssl >/dev/null || fail "openssl is not here; install it"

umask 077
mkdir -p "$generated/authority" "$generated/broker/tls" "$generated/clients"
generated=$(cd "$generated" && pwd -P)
ca=$generated/authority/ca
server=$generated/broker/tls/server
scratch=$(mktemp -d "$generated/authority/making.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

make_server=true
if [[ -e "$server.pem" && $renew == false ]]; then
    [[ ${#clients[@]} -gt 0 && ${#names[@]} -eq 0 ]] \
        || fail "the broker has a certificate already, $server.pem, valid until $(openssl x509 -in "$server.pem" -noout -enddate | cut -d = -f 2). --renew replaces it"
    make_server=false
fi
for client in ${clients[@]+"${clients[@]}"}; do
    [[ ! -e "$generated/clients/$client.pem" ]] || fail "$generated/clients/$client.pem is there already; take it away first"
done

# --- made in the scratch directory, moved when it is whole ---

run() {
    openssl "$@" 2>"$scratch/said" || fail "openssl: $(cat "$scratch/said")"
}

# sign NAME SUBJECT EXTENSION...: makes NAME.key and NAME.pem in the scratch directory
sign() {
    local name=$scratch/$1 subject=$2
    shift 2
    printf '%s\n' "basicConstraints = critical, CA:FALSE" "subjectKeyIdentifier = hash" "authorityKeyIdentifier = keyid" \
        "keyUsage = critical, digitalSignature, keyEncipherment" "$@" >"$name.extensions"
    run req -new -newkey rsa:3072 -nodes -sha256 -subj "$subject" -keyout "$name.key" -out "$name.request"
    run x509 -req -in "$name.request" -CA "$ca.pem" -CAkey "$ca.key" -set_serial "0x$(openssl rand -hex 16)" -sha256 -days "$days" \
        -extfile "$name.extensions" -out "$name.pem"
}

if [[ ! -e "$ca.pem" ]]; then
    [[ ! -e "$generated/clients/ca.pem" ]] || fail "$ca.pem is not here any more: put it and its key back, or begin anew without $generated/clients/ca.pem"
    printf '%s\n' "[req]" "distinguished_name = name" "x509_extensions = authority" "[name]" "[authority]" \
        "basicConstraints = critical, CA:TRUE, pathlen:0" "subjectKeyIdentifier = hash" "keyUsage = critical, keyCertSign, cRLSign" \
        >"$scratch/ca.config"
    run req -x509 -newkey rsa:3072 -nodes -sha256 -days "$authority_days" -config "$scratch/ca.config" \
        -subj "/CN=broker of simulations $(openssl rand -hex 4)" -keyout "$scratch/ca.key" -out "$scratch/ca.pem"
    mv "$scratch/ca.key" "$scratch/ca.pem" "$generated/authority/"
fi
[[ -r "$ca.key" ]] || fail "the key of the authority, $ca.key, is not here, and nothing can be signed without it"

if $make_server; then
    alternatives=
    for name in localhost 127.0.0.1 ::1 "$(uname -n)" ${names[@]+"${names[@]}"}; do
        kind=DNS
        [[ "$name" != *:* && ! "$name" =~ ^[0-9.]+$ ]] || kind=IP
        [[ ",$alternatives," == *",$kind:$name,"* ]] || alternatives=${alternatives:+$alternatives,}$kind:$name
    done
    sign server "/CN=mosquitto" "extendedKeyUsage = serverAuth" "subjectAltName = $alternatives"
    cp "$ca.pem" "$generated/broker/tls/ca.pem"
    cp "$ca.pem" "$generated/clients/ca.pem"
    mv "$scratch/server.key" "$server.key"
    mv "$scratch/server.pem" "$server.pem"
    echo "The broker has a certificate for ${alternatives//,/, }, for $days days."
    "$here/set_up.sh" --quiet
    echo "A Mosquitto that runs has to be started again. Its clients (set_up.sh prints all that they need):"
    sed -n 's/^MQTT_\(PORT\|TLS_CA_FILE\)=/    &/p' "$generated/clients/mso.env"
fi
for client in ${clients[@]+"${clients[@]}"}; do
    sign "$client" "/CN=$client" "extendedKeyUsage = clientAuth"
    mv "$scratch/$client.key" "$scratch/$client.pem" "$generated/clients/"
    echo "The client $client has a certificate, for $days days:"
    echo "    MQTT_TLS_CA_FILE=$generated/clients/ca.pem"
    echo "    MQTT_TLS_CERT_FILE=$generated/clients/$client.pem"
    echo "    MQTT_TLS_KEY_FILE=$generated/clients/$client.key"
done
