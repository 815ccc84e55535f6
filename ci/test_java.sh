#!/usr/bin/env bash
# Builds and tests the Java of java/: the messages, against the bytes that Python is held to, and the example.
set -euo pipefail

case "${1:-}" in
    -h | --help)
        echo "usage: ci/test_java.sh    builds and tests java/; says so and succeeds where there is no Maven or no JDK"
        exit 0
        ;;
    "") ;;
    *)
        echo "test_java: unknown argument $1 (see --help)" >&2
        exit 2
        ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/../java"
# `javac -version` also where /usr/bin/javac is there to say that it is not (macOS).
if ! command -v mvn >/dev/null || ! { "${JAVA_HOME:+$JAVA_HOME/bin/}javac" -version; } >/dev/null 2>&1; then
    echo "java tests are skipped: no Maven or no JDK; install them (as root: apt-get install maven default-jdk-headless; brew install maven)"
    exit
fi
mvn --quiet --batch-mode --no-transfer-progress verify
