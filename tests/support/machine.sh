#!/usr/bin/env bash
# What the tests need of the machine besides make, git and Python 3.11.
#
#   machine.sh [COMMAND…]
#
# Looks for these commands, or for every command of the table. As root on Debian it installs the
# packages of the missing ones. For anybody else it prints one line, which installs them or names
# them, and ends with status 1.
set -euo pipefail

# Each command, or library, with the Debian package that has it. Playwright's driver needs libatomic.
TABLE="
venv python3-venv
curl curl
luacheck lua-check
chromium chromium
nginx nginx-light
promtool prometheus
libatomic libatomic1
"

python="${PYTHON:-python3}"

found() {
    case "$1" in
        venv) "$python" -c 'import ensurepip, venv' ;;
        chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
        nginx) PATH="$PATH:/usr/sbin:/sbin" command -v nginx ;;  # not on everybody's PATH
        libatomic)
            [ "$(uname)" != Linux ] || "$python" -c 'import ctypes; ctypes.CDLL("libatomic.so.1")'
            ;;
        *) command -v "$1" ;;
    esac >/dev/null 2>&1
}

look() {  # for what is missing; sets $commands and $packages
    commands="" packages=""
    local command package
    while read -r command package; do
        if [[ -n $command && (-z $wanted || " $wanted " == *" $command "*) ]] && ! found "$command"; then
            commands+=" $command" packages+=" $package"
        fi
    done <<<"$TABLE"
}

# Debian starts the servers that it installs. Tests start servers of their own, so the machine's
# shall neither run now nor start when it boots.
install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    policy="${POLICY_RC_D:-/usr/sbin/policy-rc.d}"
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -qq
    # shellcheck disable=SC2086  # one word a package
    apt-get install -y -qq --no-install-recommends $packages >/dev/null
    local service
    for service in nginx prometheus; do
        if [[ $packages == *$service* ]] && command -v systemctl >/dev/null; then
            systemctl disable --quiet "$service"
        fi
    done
}

wanted="$*"
look
[ -n "$commands" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "install first:$commands" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "install first: sudo apt-get install -y --no-install-recommends$packages" >&2
    exit 1
fi
echo "machine: installing$packages"
install_packages
look
if [ -n "$commands" ]; then
    echo "machine: installed, and still not found:$commands" >&2
    exit 1
fi
