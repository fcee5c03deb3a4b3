#!/bin/sh
# Make the virtual environment $1 from a Python that is new enough, with a pip in it.
#
# Some systems ship Python without the modules that make virtual environments (Debian puts ensurepip
# into a package of its own). Then a pip or a virtualenv that is already there does it, and where
# there is neither, a sentence says what to install.
set -eu

venv=$1
requirements=$(cd "$(dirname "$0")/.." && pwd)/requirements/build.txt

say() { printf '%s\n' "fastpaca: $*"; }
fail() { say "$*" >&2; exit 1; }

# Runs the candidate, because a name on the path may be a shim for a Python that is not there.
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    for candidate in python3.13 python3.12 python3.11 python3 python; do
        if new_enough "$candidate"; then command -v "$candidate"; return; fi
    done
}

# Installs the pinned pip into an environment that was made without one.
bootstrap_pip() {
    for pip in "$python -m pip" "python3 -m pip" pip3 pip; do
        if $pip --disable-pip-version-check --python "$venv/bin/python" install --quiet \
            --require-hashes -r "$requirements" 2>/dev/null; then return; fi
    done
    return 1
}

if [ -n "${PYTHON:-}" ]; then
    new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer."
    python=$PYTHON
else
    python=$(find_python)
    [ -n "$python" ] || fail "Python 3.11 or newer is needed and none was found; install one" \
        "(Debian: apt-get install python3 python3-venv, macOS: brew install python@3.13)" \
        "or name it: make PYTHON=/path/to/python3"
fi

# Half an environment would look like a whole one to make, so only a finished one stays.
finished=
trap '[ -n "$finished" ] || rm -rf "$venv"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rm -rf "$venv"

say "making $venv with $("$python" --version) ($python)"
if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$python" -m venv "$venv"
elif "$python" -m venv --without-pip "$venv" 2>/dev/null && bootstrap_pip; then
    say "this Python has no ensurepip; an installed pip has put a pip into $venv"
elif rm -rf "$venv" && virtualenv --quiet --python "$python" "$venv" 2>/dev/null; then
    say "this Python has no ensurepip; virtualenv has made $venv"
else
    fail "this Python cannot make virtual environments;" \
        "install what is missing (Debian: apt-get install python3-venv) and run make again."
fi
finished=yes
