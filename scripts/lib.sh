# Shared by the scripts in this folder: messages, privileges, cargo. Sourced, not run.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo" || exit

# Administrators' programs are not on every user's PATH, and Rust's are not on root's under sudo.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '==> %s\n' "$*"; }

# fail REASON [HINT]
fail() {
    printf 'error: %s\n' "$1" >&2
    if [ $# -gt 1 ]; then printf 'hint: %s\n' "$2" >&2; fi
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

can_be_root() { is_root || have sudo; }

# Runs a command as root; with sudo, which may ask for a password, unless root already.
as_root() {
    if is_root; then
        "$@"
    else
        sudo -- "$@"
    fi
}

# Three tries, for what goes over a network.
retry() {
    local try
    for try in 1 2 3; do
        if "$@"; then return 0; fi
        if [ "$try" -lt 3 ]; then sleep $((try * 3)); fi
    done
    return 1
}

# Under `sudo make …` the user who typed it, if Rust is that user's: what is built and downloaded
# shall not belong to root.
builder() {
    if ! is_root || [ -z "${SUDO_USER:-}" ] || [ "$SUDO_USER" = root ]; then return 1; fi
    builder_home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
    [ -x "$builder_home/.cargo/bin/cargo" ]
}

# Runs a command as the user who builds.
as_builder() {
    if builder; then
        local keep=(PATH="$builder_home/.cargo/bin:$PATH") name
        for name in CI ENVOY CARGO_TARGET_DIR; do
            if [ -n "${!name:-}" ]; then keep+=("$name=${!name}"); fi
        done
        sudo -H -u "$SUDO_USER" -- env "${keep[@]}" "$@"
    else
        PATH=$PATH:${HOME:-/root}/.cargo/bin "$@"
    fi
}

# Cargo, silent but for errors where nobody watches.
cargo_as_builder() {
    local command=$1
    shift
    if ! as_builder cargo --version >/dev/null 2>&1; then
        fail "cargo is not on the PATH" "install Rust 1.90 or later, with rustup for instance"
    fi
    if [ -t 2 ]; then
        as_builder cargo "$command" "$@"
    else
        as_builder cargo "$command" --quiet "$@"
    fi
}

target_dir() { echo "${CARGO_TARGET_DIR:-$repo/target}"; }

# The Envoy to use: $ENVOY, the PATH, or the one that ensure.sh has put into .cache.
find_envoy() {
    local cached=$repo/.cache/envoy/envoy
    if [ -n "${ENVOY:-}" ]; then
        echo "$ENVOY"
    elif have envoy; then
        command -v envoy
    elif [ -x "$cached" ]; then
        echo "$cached"
    else
        return 1
    fi
}
