#!/bin/sh
# Install the browser that tests drive, where there is none: Debian's Chromium.
set -eu

say() { printf '%s\n' "fastpaca: $*"; }

for name in chromium chromium-browser google-chrome google-chrome-stable \
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
    if command -v "$name" >/dev/null; then exit; fi
done

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing Chromium (apt-get install chromium)"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null
else
    say "no Chromium on this machine: the tests that look at pages are left out"
fi
