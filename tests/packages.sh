#!/bin/sh
# Install the system packages that building and testing need and that are missing (Debian and its relatives). Programs that
# tests run inside are taken where they can be had; what only widens the tests may be missing.
set -eu
need="gcc libc6-dev make libseccomp2 python3 python3-venv python3-dev git"
want="curl redis-server nginx-light openssh-client openssh-server rsync bind9-dnsutils iputils-ping iproute2 openssl postgresql wrk wget nghttp2-client chromium nodejs golang-go busybox-static musl musl-tools sqlite3 perl xz-utils bash dash fish zsh gawk findutils procps strace bubblewrap ${SANDBOX_SYSTEM_PACKAGES:-}"
missing=""
for package in $need $want; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || { echo "install these packages:$missing" >&2; exit 0; }
as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "not root and no sudo; install these packages:$missing" >&2; exit 0; }
    as_root=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -q >/dev/null
for package in $missing; do
    $as_root apt-get install -q -y --no-install-recommends "$package" >/dev/null || case " $need " in
        *" $package "*) echo "cannot install $package" >&2; exit 1;;
        *) echo "without $package: the tests that use it are skipped" >&2;;
    esac
done
