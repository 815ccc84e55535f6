#!/usr/bin/env bash
# Generates the messages from message_definitions/: for Python (with type stubs) and for Java.
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

python=mso/protocol/messages
java=java/mso-messages/src/main/java
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
mkdir "$new/python" "$new/java"

# The protoc of grpcio-tools writes no Java. One of the same version that does is in Maven's repository: protobuf 35.1
# is 4.35.1 there. It stays in .cache/, so that Maven is asked once.
get_protoc() {
    local version platform
    version=4.$(.venv/bin/python -m grpc_tools.protoc --version | sed 's/.* //')
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64) platform=linux-x86_64 ;;
        Linux-aarch64) platform=linux-aarch_64 ;;
        Darwin-x86_64) platform=osx-x86_64 ;;
        Darwin-arm64) platform=osx-aarch_64 ;;
        *) return 1 ;;
    esac
    protoc=.cache/protoc-$version-$platform.exe
    [[ ! -x $protoc ]] || return 0
    command -v mvn >/dev/null || return 1
    mvn --quiet --batch-mode --no-transfer-progress --non-recursive --file java/pom.xml dependency:copy \
        -Dartifact="com.google.protobuf:protoc:$version:exe:$platform" -DoutputDirectory="$new" >&2 || return 1
    chmod +x "$new/${protoc#.cache/}"
    mkdir -p .cache
    mv "$new/${protoc#.cache/}" "$protoc"
}

java_too=true
if ! get_protoc; then
    $check || {
        echo "build_protobuf_messages: nothing was generated: the protoc for Java comes with Maven; install it (as root: apt-get install maven; brew install maven)" >&2
        exit 1
    }
    echo "the messages for Java are not checked: no protoc for them; install Maven (as root: apt-get install maven; brew install maven)"
    java_too=false
fi

.venv/bin/python -m grpc_tools.protoc --proto_path=message_definitions \
    --python_out="$new/python" --pyi_out="$new/python" message_definitions/*.proto
if $java_too; then
    well_known=$(.venv/bin/python -c 'import importlib.resources; print(importlib.resources.files("grpc_tools") / "_proto")')
    "$protoc" --proto_path=message_definitions --proto_path="$well_known" --java_out="$new/java" message_definitions/*.proto
fi

# Whether what is committed is what is generated now.
compare() {
    local committed=$1 generated=$2
    diff -r --exclude=__init__.py --exclude=__pycache__ "$committed" "$generated" >/dev/null && return
    echo "$committed differs from message_definitions/: run ci/build_protobuf_messages.sh and commit the result" >&2
    current=false
}

if $check; then
    current=true
    compare "$python" "$new/python"
    ! $java_too || compare "$java" "$new/java"
    $current
    exit
fi
mkdir -p "$python"
rm -f "$python"/*_pb2.py "$python"/*_pb2.pyi
cp "$new"/python/* "$python/"
rm -rf "$java" # nothing there is written by hand
cp -R "$new/java" "$java"
