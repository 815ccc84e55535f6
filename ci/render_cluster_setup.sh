#!/usr/bin/env bash
# Renders k8s_cluster_configuration/mso_cluster_setup.yaml from base/, for clusters that are set up without kustomize.
set -euo pipefail

check=false
case "${1:-}" in
    -h | --help)
        echo "usage: ci/render_cluster_setup.sh [--check]    --check changes nothing and fails when the rendered file is out of date"
        exit 0
        ;;
    --check) check=true ;;
    "") ;;
    *)
        echo "render_cluster_setup: unknown argument $1 (see --help)" >&2
        exit 2
        ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/../k8s_cluster_configuration"
if ! command -v kubectl >/dev/null; then
    echo "render_cluster_setup: no kubectl here: install it, no cluster is needed" >&2
    exit 1
fi

target=mso_cluster_setup.yaml
new=$(mktemp)
trap 'rm -f "$new"' EXIT
{
    cat <<'HEADER'
# The Model Services Orchestrator in a cluster, for those without kustomize: base/ as ci/render_cluster_setup.sh renders it.
# How it is installed, and what to change in a copy of this file: docs/kubernetes.md, "Without kustomize".
HEADER
    kubectl kustomize base
} >"$new"

if $check; then
    diff "$target" "$new" >&2 || {
        echo "$target differs from base/: run ci/render_cluster_setup.sh and commit the result" >&2
        exit 1
    }
else
    cp "$new" "$target"
fi
