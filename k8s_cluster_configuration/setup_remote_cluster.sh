#!/usr/bin/env bash
# Prepares a cluster for an MSO that runs outside of it, and prints what that one needs to know, as lines for its .env.
set -euo pipefail

usage="usage: k8s_cluster_configuration/setup_remote_cluster.sh [options] [CONTEXT]

Prepares the cluster of KUBECONFIG for a Model Services Orchestrator (MSO) that runs outside of it: a namespace for
models, a service account with the Role that MSO needs, and a token for it that lasts. Prints the KUBERNETES_* lines for
.env, and nothing else, on stdout. It may be run again: what is there already is kept, the token as well.

  CONTEXT           which context of the kubeconfig (default: the current one)
  --namespace NAME  where models run (default: that of the overlay, dots)
  --overlay DIR     the kustomize overlay (default: overlays/remote beside this script)
  --server URL      where MSO reaches the API, if that is not the server of the kubeconfig; not tried out then
  --dry-run         print what would be applied, and do nothing

examples:
  k8s_cluster_configuration/setup_remote_cluster.sh >> .env
  KUBECONFIG=~/admin.yaml k8s_cluster_configuration/setup_remote_cluster.sh --namespace energy my-context >> .env

Whoever has the token can do in that namespace what MSO can: keep .env to yourself. To take it back:
  kubectl delete secrets --namespace dots --selector app.kubernetes.io/name=mso"

say() { echo "setup_remote_cluster: $*" >&2; }
die() {
    say "$*"
    exit 1
}
wrong_use() {
    say "$* (see --help)"
    exit 2
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
context= namespace= overlay=$here/overlays/remote url= dry_run=false

while [[ $# -gt 0 ]]; do
    case "$1" in
        -h | --help)
            echo "$usage"
            exit 0
            ;;
        --namespace | --overlay | --server)
            [[ -n "${2:-}" ]] || wrong_use "$1 wants a value"
            case "$1" in
                --namespace) namespace=$2 ;;
                --overlay) overlay=$2 ;;
                --server) url=$2 ;;
            esac
            shift
            ;;
        --dry-run) dry_run=true ;;
        -*) wrong_use "unknown option $1" ;;
        *)
            [[ -z "$context" ]] || wrong_use "one context, not $context and $1"
            context=$1
            ;;
    esac
    shift
done

command -v kubectl >/dev/null || die "no kubectl here: https://kubernetes.io/docs/tasks/tools/"
[[ -f "$overlay/kustomization.yaml" ]] || wrong_use "--overlay: no kustomization.yaml in $overlay"
overlay=$(cd "$overlay" && pwd -P)

umask 077 # a token comes into this directory
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

kubectl=(kubectl)
[[ -z "$context" ]] || kubectl+=(--context "$context")

# All that the overlay says, in the namespace that was asked for: a further overlay, in a copy, for a kustomization points to
# others by relative paths alone.
render() {
    if [[ -n "$namespace" ]]; then
        cp -R "$(dirname "$(dirname "$overlay")")" "$scratch/configuration"
        mkdir "$scratch/configuration/chosen"
        printf 'namespace: %s\nresources: [../%s/%s]\n' "$namespace" "$(basename "$(dirname "$overlay")")" "$(basename "$overlay")" \
            >"$scratch/configuration/chosen/kustomization.yaml"
        kubectl kustomize "$scratch/configuration/chosen"
    else
        kubectl kustomize "$overlay"
    fi
}

# Only what gives access: one MSO is active in a namespace, and this one is to run elsewhere.
only_access() {
    awk '
        function take() { if (document ~ /\n    app\.kubernetes\.io\/component: access\n/) printf "---\n%s", document; document = "" }
        /^---$/ { take(); next }
        { document = document $0 "\n" }
        END { take() }'
}

# A Secret of this type is filled with a token by the cluster, which holds until the Secret is deleted. The tokens of
# `kubectl create token` run out, after a day or two where the cluster insists, and MSO reads .env once.
# A token is made of the name of its Secret, and nothing in it is chance: under the old name the old token would be good
# again, which somebody took back.
token_manifest() {
    cat <<SECRET
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata:
  generateName: mso-token-
  namespace: $namespace
  labels:
    app.kubernetes.io/component: access
    app.kubernetes.io/name: mso
  annotations:
    kubernetes.io/service-account.name: mso
SECRET
}

render >"$scratch/all.yaml"
only_access <"$scratch/all.yaml" >"$scratch/access.yaml"
namespace=$(sed -n 's/^  namespace: //p' "$scratch/access.yaml" | head -n 1)
[[ -n "$namespace" ]] || die "nothing in $overlay is labelled app.kubernetes.io/component: access"
if $dry_run; then
    cat "$scratch/access.yaml"
    echo "---"
    token_manifest
    exit 0
fi

cluster() { # a field of the cluster in the kubeconfig
    "${kubectl[@]}" config view --raw --minify --flatten --output "jsonpath={.clusters[0].cluster.$1}"
}
server=$(cluster server) || die "no such context in the kubeconfig: kubectl config get-contexts"
[[ -n "$server" ]] || die "the kubeconfig names no cluster: set KUBECONFIG, or name a context"
say "preparing namespace $namespace of $server"
"${kubectl[@]}" apply --server-side --filename "$scratch/access.yaml" >&2

# One that is there is as good as a new one.
tokens=(get secrets --namespace "$namespace" --selector app.kubernetes.io/name=mso --output name)
tokens+=(--field-selector type=kubernetes.io/service-account-token)
secret=$("${kubectl[@]}" "${tokens[@]}" | head -n 1)
[[ -n "$secret" ]] || secret=$(token_manifest | "${kubectl[@]}" create --filename - --output name)

data() { # a key of the Secret, in base64
    "${kubectl[@]}" get "$secret" --namespace "$namespace" --output "jsonpath={.data.$1}"
}
# The cluster fills it in when it gets to it.
token=
for ((left = 120; left > 0; left--)); do
    token=$(data token | base64 --decode)
    [[ -z "$token" ]] || break
    sleep 0.5
done
[[ -n "$token" ]] || die "the cluster does not fill $secret with a token; ask its operator whether it makes any"

# The authority by which this machine knows the API. Where the kubeconfig trusts anybody, that which pods are told of.
authority=$(cluster certificate-authority-data)
if [[ -z "$authority" && "$(cluster insecure-skip-tls-verify)" == true ]]; then
    authority=$(data 'ca\.crt')
fi

address=${url:-$server}
[[ "$address" =~ ^https://(\[([^]]+)\]|([^/:]+))(:([0-9]+))?/?$ ]] \
    || die "$address is not https://host:port, which is all that these variables can say: give MSO the kubeconfig itself (KUBECONFIG)"
host=${BASH_REMATCH[2]:-}${BASH_REMATCH[3]:-}
port=${BASH_REMATCH[5]:-443}

# As MSO will do it: with these lines and nothing else.
try() {
    local at=$host
    [[ "$host" != *:* ]] || at="[$host]"
    {
        printf 'apiVersion: v1\nkind: Config\ncurrent-context: mso\n'
        printf 'contexts: [{name: mso, context: {cluster: mso, user: mso}}]\n'
        printf 'users: [{name: mso, user: {token: "%s"}}]\n' "$token"
        printf 'clusters: [{name: mso, cluster: {server: "https://%s:%s"%s}}]\n' "$at" "$port" \
            "${authority:+, certificate-authority-data: \"$authority\"}"
    } >"$scratch/kubeconfig"
    KUBECONFIG=$scratch/kubeconfig kubectl get pods --namespace "$namespace" --request-timeout 20s --output name >/dev/null
}
if [[ -z "$url" ]]; then
    for left in 4 3 2 1 0; do # a Role that is new may take the API server a moment
        try 2>"$scratch/why" && break
        [[ $left != 0 ]] || die "the API does not let MSO in with these lines: $(cat "$scratch/why")
If the way to it needs more than a host, a port and an authority, give MSO a kubeconfig (KUBECONFIG) in their place."
        sleep 1
    done
fi

cat <<LINES
KUBERNETES_API_TOKEN=$token
KUBERNETES_HOST=$host
KUBERNETES_PORT=$port
KUBERNETES_CA_DATA=$authority
KUBERNETES_NAMESPACE=$namespace
LINES
say "done; these lines belong into the .env of MSO, below what is said there already"
