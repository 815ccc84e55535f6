#!/usr/bin/env bash
# Makes .venv: the newest Python from 3.11 up, everything in dev-requirements.txt, and the project itself, editable.
# Returns at once when nothing changed since the last time; mends what an interrupted run left behind.
set -euo pipefail

if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
    echo "usage: ci/prepare_dev_env.sh    make or update .venv (to start afresh: rm -rf .venv)"
    exit 0
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
unset PYTHONHOME PYTHONPATH
[[ -n "${HOME:-}" ]] || export PIP_NO_CACHE_DIR=1 # without a home, pip's cache would land in the checkout
venv=$root/.venv
stamp=$venv/.prepared

fail() {
    echo "prepare_dev_env: $*" >&2
    exit 1
}

# Two lines: what the environment is made of (another Python or another place: start afresh), and what is installed in it.
fingerprint() {
    "$venv/bin/python" -ISc '
import hashlib, sys
files = ("pyproject.toml", "dev-requirements.txt", "ci/prepare_dev_env.sh")
contents = hashlib.sha256()
for name in files:
    with open(name, "rb") as file:
        contents.update(hashlib.sha256(file.read()).digest())
print(sys.version.replace("\n", " "), sys.argv[1])
print(contents.hexdigest())
' "$root" 2>/dev/null
}

is_current() {
    [[ -x "$venv/bin/python" && -f "$stamp" ]] && [[ "$(fingerprint)" == "$(cat "$stamp")" ]]
}

# Prints "minor executable has-ensurepip" of each Python from 3.11 up, the newest first, and with ensurepip before without.
candidates() {
    local name path
    local IFS=$'\n'
    PATH="$PATH:/opt/homebrew/bin:/usr/local/bin:/usr/bin"
    for name in python3.14 python3.13 python3.12 python3.11 python3; do
        for path in $(type -ap "$name" | awk '!seen[$0]++'); do
            [[ "$path" == "$venv"/* ]] && continue
            # A version manager's shim may exist and yet refuse to run: only what answers counts.
            "$path" -c '
import sys
if sys.version_info >= (3, 11) and sys.version_info.releaselevel == "final":
    try:
        import ensurepip, venv
        complete = bool(ensurepip.version())
    except Exception:
        complete = False
    print(sys.version_info.minor, int(complete), sys.executable)
' 2>/dev/null </dev/null || true
        done
    done | sort -s -k2,2nr -k1,1nr
}

find_python() {
    local found ensurepip minor
    found=$(candidates)
    [[ -n "$found" ]] || fail "no Python 3.11 or newer found; install one (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python)"
    read -r minor ensurepip python <<<"$found"
    [[ "$ensurepip" == 1 ]] && return
    local package=python3.$minor-venv
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        echo "prepare_dev_env: installing $package" >&2
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq -o DPkg::Lock::Timeout=120 install -y "$package" >/dev/null 2>&1 \
            || { apt-get -qq update && apt-get -qq -o DPkg::Lock::Timeout=120 install -y "$package" >/dev/null; } >&2 \
            || fail "$python has no ensurepip, and apt-get could not install $package"
        read -r minor ensurepip python <<<"$(candidates)"
        [[ "$ensurepip" == 1 ]] || fail "$python has no ensurepip, also with $package installed"
    else
        fail "$python has no ensurepip; install the package $package (as root: apt-get install $package)"
    fi
}

prepare() {
    local python
    if [[ -f "$stamp" && -x "$venv/bin/python" && "$(fingerprint | head -n 1)" == "$(head -n 1 "$stamp")" ]]; then
        rm -f "$stamp"
        echo "prepare_dev_env: updating .venv" >&2
    else
        find_python
        echo "prepare_dev_env: making .venv with $("$python" --version), $python" >&2
        rm -rf "$venv"
        "$python" -m venv "$venv" || fail "$python could not make a virtual environment"
    fi
    local prepared
    prepared=$(fingerprint) # taken before the files are read: what changes meanwhile is for the next run
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
    # The lock is complete, so nothing is left to resolve. Some versions of pip would try: for "coverage[toml]", asked for by a
    # plugin, they take the newest release and then refuse it for not being the locked one.
    "${pip[@]}" install --require-hashes --no-deps -r dev-requirements.txt >&2 \
        || fail "installing dev-requirements.txt failed (see above); run it again once that is settled"
    "${pip[@]}" install --no-deps --no-build-isolation --editable . >&2 || fail "installing the project itself failed (see above)"
    echo "$prepared" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

is_current && exit 0
if command -v flock >/dev/null; then
    exec 9>"$root/.venv.lock"
    flock 9
    is_current && exit 0 # another run made it meanwhile
fi
prepare
