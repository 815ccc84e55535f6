#!/usr/bin/env bash
# Sees to a cluster of kind for models, and prints what an MSO on this machine needs to know of it, as lines for its .env.
set -euo pipefail

usage="usage: simulation_components/setup_kind_cluster.sh [options]

Makes a Kubernetes cluster with kind (https://kind.sigs.k8s.io), in Docker on this machine, unless it is there already,
and prepares it for a Model Services Orchestrator (MSO) that runs beside it. Prints the KUBERNETES_* lines for .env, and
nothing else, on stdout. The cluster is written into the kubeconfig (KUBECONFIG, else ~/.kube/config). It may be run again.

  --name NAME       of the cluster (default: mso)
  --namespace NAME  where models run (default: dots)
  --container       the lines for an MSO in a container on the Docker network of kind, in place of one on this machine

examples:
  simulation_components/setup_kind_cluster.sh >> .env
  kind load docker-image fake_model:0.0.1 --name mso     # an image that was built here, to be used as imageUrl

To be rid of it: kind delete cluster --name mso"

say() { echo "setup_kind_cluster: $*" >&2; }
die() {
    say "$*"
    exit 1
}
wrong_use() {
    say "$* (see --help)"
    exit 2
}

configuration=$(cd "$(dirname "${BASH_SOURCE[0]}")/../k8s_cluster_configuration" && pwd -P)
name=mso container=false namespace=()

while [[ $# -gt 0 ]]; do
    case "$1" in
        -h | --help)
            echo "$usage"
            exit 0
            ;;
        --name | --namespace)
            [[ -n "${2:-}" ]] || wrong_use "$1 wants a value"
            case "$1" in
                --name) name=$2 ;;
                --namespace) namespace=(--namespace "$2") ;;
            esac
            shift
            ;;
        --container) container=true ;;
        *) wrong_use "unknown argument $1" ;;
    esac
    shift
done

command -v kind >/dev/null || die "no kind here: https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
command -v kubectl >/dev/null || die "no kubectl here: https://kubernetes.io/docs/tasks/tools/"

# kind talks on stderr, and names clusters on stdout.
clusters=$(kind get clusters) || die "kind does not answer: does Docker run?"
if grep -qxF -- "$name" <<<"$clusters"; then
    say "the cluster $name is there already"
    kind export kubeconfig --name "$name" >&2
else
    say "making the cluster $name"
    kind create cluster --name "$name" --wait 180s >&2
fi

server=()
if $container; then
    # There a name leads to it, and that name is in its certificate.
    server=(--server "$(kind get kubeconfig --internal --name "$name" | sed -n 's/^ *server: //p')")
fi
# An empty array counts as unset in the bash of macOS.
exec "$configuration/setup_remote_cluster.sh" --overlay "$configuration/overlays/kind" \
    ${namespace[@]+"${namespace[@]}"} ${server[@]+"${server[@]}"} "kind-$name"
