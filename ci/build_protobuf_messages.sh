#!/usr/bin/env bash
# Generates mso/protocol/messages/ (Python and type stubs) from message_definitions/.
set -euo pipefail

check=false
case "${1:-}" in
    -h | --help)
        echo "usage: ci/build_protobuf_messages.sh [--check]    --check changes nothing and fails when the generated code is out of date"
        exit 0
        ;;
    --check) check=true ;;
    "") ;;
    *)
        echo "build_protobuf_messages: unknown argument $1 (see --help)" >&2
        exit 2
        ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ci/prepare_dev_env.sh

target=mso/protocol/messages
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
.venv/bin/python -m grpc_tools.protoc --proto_path=message_definitions --python_out="$new" --pyi_out="$new" message_definitions/*.proto

if $check; then
    diff -r --exclude=__init__.py --exclude=__pycache__ "$target" "$new" >/dev/null || {
        echo "$target differs from message_definitions/: run ci/build_protobuf_messages.sh and commit the result" >&2
        exit 1
    }
else
    mkdir -p "$target"
    rm -f "$target"/*_pb2.py "$target"/*_pb2.pyi
    cp "$new"/* "$target"/
fi
