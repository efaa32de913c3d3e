# Sourced by the scripts beside it: brings a bare Debian 12 to where colotrace runs, once; a second call costs a stat.
# Sets COLOTRACE_ROOT, COLOTRACE_CACHE and COLOTRACE_PYTHON (the venv's interpreter, which sees the system's bcc).

COLOTRACE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
COLOTRACE_CACHE=${COLOTRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/colotrace}
COLOTRACE_VENV=$COLOTRACE_CACHE/venv-$(printf %s "$COLOTRACE_ROOT" | sha256sum | cut -c1-8)
COLOTRACE_PYTHON=$COLOTRACE_VENV/bin/python
export COLOTRACE_ROOT COLOTRACE_CACHE COLOTRACE_PYTHON

# python3-bpfcc: bcc itself.  qemu-system-x86, binutils: the lab's two VMs and their firmware.  gcc: the layout test.
# libcap2-bin: setcap.  clang, lld, gcc-aarch64-linux-gnu: other compilers' code for the resolver.  mmdebstrap: other
# releases' QEMUs.  gdb, bpftrace, linux-perf: other tools at the same places (scripts/torture).  chromium, with its
# driver and a font: draws pictures, and uses the report's page in tests.
COLOTRACE_PACKAGES="python3-bpfcc python3-venv qemu-system-x86 binutils gcc libc6-dev libcap2-bin ca-certificates clang lld
                    gcc-aarch64-linux-gnu mmdebstrap gdb bpftrace linux-perf
                    chromium chromium-driver fonts-dejavu-core"

colotrace_say() { printf 'colotrace: %s\n' "$*" >&2; }

# Runs a command quietly; shows what it printed only if it fails.
colotrace_quiet() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        colotrace_say "failed: $*"
        return 1
    fi
    rm -f "$log"
}

# Prints the base URI of the mirror that apt has for Debian 12.
colotrace_mirror() {
    local base
    base=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')
    [ -n "$base" ] || { colotrace_say "apt knows no mirror of bookworm; run apt-get update as root first"; return 1; }
    printf '%s\n' "$base"
}

colotrace_missing_packages() {
    local package
    for package in $COLOTRACE_PACKAGES; do
        [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null)" = "ii " ] || printf '%s ' "$package"
    done
}

colotrace_setup() {
    local stamp=$COLOTRACE_VENV/.ready want missing
    want=$(sha256sum "$COLOTRACE_ROOT/pyproject.toml" "$COLOTRACE_ROOT/scripts/env.sh" | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && [ -x /usr/bin/qemu-system-x86_64 ] && return 0
    mkdir -p "$COLOTRACE_CACHE"
    (
        flock 9  # two scripts started at once set up once
        [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && [ -x /usr/bin/qemu-system-x86_64 ] && exit 0
        missing=$(colotrace_missing_packages)
        if [ -n "$missing" ]; then
            [ "$(id -u)" = 0 ] || { colotrace_say "needs the packages: $missing; run once as root"; exit 1; }
            colotrace_say "installing $missing"
            colotrace_quiet apt-get update || exit 1
            # shellcheck disable=SC2086
            DEBIAN_FRONTEND=noninteractive colotrace_quiet apt-get install -y --no-install-recommends $missing || exit 1
        fi
        colotrace_say "preparing $COLOTRACE_VENV"
        # /usr/bin/python3, not a newer one: bcc is a package of the distribution and is built for that interpreter.
        [ -x "$COLOTRACE_PYTHON" ] || colotrace_quiet /usr/bin/python3 -m venv --system-site-packages "$COLOTRACE_VENV" || exit 1
        colotrace_quiet "$COLOTRACE_PYTHON" -m pip install --quiet -e "$COLOTRACE_ROOT[dev]" || exit 1
        printf '%s\n' "$want" >"$stamp"
    ) 9>"$COLOTRACE_CACHE/setup.lock"
}

colotrace_setup || exit 1
