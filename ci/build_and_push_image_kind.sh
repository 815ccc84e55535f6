#!/usr/bin/env bash
# Builds the images and loads them into the nodes of a cluster of kind, where no registry is needed then.
set -euo pipefail

usage="usage: ci/build_and_push_image_kind.sh [CLUSTER] [arguments of ci/build_docker.sh]

Builds mso, fake_model and fake_simulator and loads them into the cluster of kind of this name (mso). Pods find them there, unless they
are to be pulled always: MSO_IMAGE_PULL_POLICY=IfNotPresent. A name or tag that was there before is replaced for pods that begin from now on.

  ci/build_and_push_image_kind.sh
  ci/build_and_push_image_kind.sh energy --tag try"

fail() {
    echo "build_and_push_image_kind: $*" >&2
    exit 1
}

cluster=mso # as simulation_components/setup_kind_cluster.sh names it
case "${1:-}" in
    -h | --help)
        echo "$usage"
        exit 0
        ;;
    "" | -*) ;;
    *)
        cluster=$1
        shift
        ;;
esac
for argument in "$@"; do
    [[ "$argument" != --push ]] || { echo "build_and_push_image_kind: --push is for a registry: ci/build_docker.sh" >&2; exit 2; }
done

command -v kind >/dev/null || fail "no kind here: https://kind.sigs.k8s.io/docs/user/quick-start"
clusters=$(kind get clusters 2>/dev/null) || fail "kind does not answer: is Docker running?"
grep -qxF "$cluster" <<<"$clusters" \
    || fail "there is no cluster of kind named $cluster, but: ${clusters//$'\n'/, }. kind create cluster --name $cluster makes it"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
images=$(ci/build_docker.sh "$@")
# Words: no name of an image has a blank in it.
# shellcheck disable=SC2086
kind load docker-image --name "$cluster" $images
