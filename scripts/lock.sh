#!/bin/sh
# Resolve the pinned and hashed requirements anew, for every supported Python and system at once.
# Arguments go to uv: --upgrade takes the newest releases, --upgrade-package NAME that of one package.
set -eu
cd "$(dirname "$0")/.."

UV_CUSTOM_COMPILE_COMMAND="make lock"
export UV_CUSTOM_COMPILE_COMMAND

compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes "$@"; }

# Each file is bound by the ones before it, so that a package has one version in all of them.
compile "$@" requirements/build.in -o requirements/build.txt
compile "$@" pyproject.toml --extra server -c requirements/build.txt -o requirements/server.txt
compile "$@" pyproject.toml --extra server requirements/dev.in \
    -c requirements/build.txt -c requirements/server.txt -o requirements/dev.txt
compile "$@" requirements/acceptance.in -c requirements/dev.txt -o requirements/acceptance.txt
compile "$@" requirements/bench.in -o requirements/bench.txt
