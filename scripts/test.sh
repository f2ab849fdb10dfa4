#!/usr/bin/env bash
# Every check: formatting, lints, all tests. Installs what they need. As root (which the tests on
# network namespaces need) nothing is skipped; with CI=true nothing may be.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

# What is built once and never again needs no incremental state, which is a third of the disk.
if [ "${CI:-}" = true ]; then
    export CARGO_INCREMENTAL=0
fi

say "1/5 tools ($(df --human-readable --output=avail . | tail -1 | tr -d ' ') of disk free; a full build takes 6G)"
scripts/ensure.sh cc ip nft unshare nsenter setpriv setsid etcd chromium curl openssl envoy kubectl rust-components

say "2/5 formatting"
as_builder cargo fmt --all --check

say "3/5 lints"
cargo_as_builder clippy --locked --workspace --all-targets -- -D warnings

say "4/5 building the tests (some minutes the first time)"
cargo_as_builder test --locked --workspace --no-run

say "5/5 testing"
ENVOY=$(find_envoy)
export ENVOY
if ! is_root; then
    say "not root: tests on network namespaces are skipped; \`sudo make test\` runs them"
fi
if builder; then
    # The tests run as root with the Rust of the user who built them.
    export CARGO_HOME=$builder_home/.cargo RUSTUP_HOME=$builder_home/.rustup
    PATH=$builder_home/.cargo/bin:$PATH
    trap 'chown -R "$SUDO_USER": "$(target_dir)"' EXIT
else
    PATH=$PATH:${HOME:-/root}/.cargo/bin
fi
cargo test --locked --workspace --no-fail-fast --quiet
