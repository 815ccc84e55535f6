#!/usr/bin/env bash
# Writes what the documents say of the code, and builds their site into site/. A link that leads nowhere fails it.
set -euo pipefail

usage="usage: ci/build_docs.sh            write the generated parts, and build the site into site/
       ci/build_docs.sh --check    build it to throw it away; fail where a generated part is not current
       ci/build_docs.sh --serve    write the generated parts, and serve the site at http://127.0.0.1:8000 as it is edited"

case "${1:-}" in
    "" | --check | --serve) ;;
    -h | --help)
        echo "$usage"
        exit 0
        ;;
    *)
        echo "$usage" >&2
        exit 2
        ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ci/prepare_dev_env.sh
export NO_MKDOCS_2_WARNING=true # the theme's opinion of a release that is not used here
python=.venv/bin/python
# Never with --quiet: what is not said is not counted, and --strict counts what is said.

case "${1:-}" in
    "")
        $python ci/generated_docs.py
        $python -m mkdocs build --strict --clean
        echo "open site/index.html"
        ;;
    --check)
        $python ci/generated_docs.py --check
        built=$(mktemp -d)
        trap 'rm -rf "$built"' EXIT
        $python -m mkdocs build --strict --site-dir "$built/site"
        ;;
    --serve)
        $python ci/generated_docs.py
        $python -m mkdocs serve --dev-addr 127.0.0.1:8000
        ;;
esac
