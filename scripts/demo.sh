#!/usr/bin/env bash
# Plays the Yao Bank tutorial: installs what is missing, builds what it needs, runs it.
# Arguments go to `tortie demo yaobank`.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

can_be_root ||
    fail "the lab makes network namespaces, which needs root, and there is no sudo" "run as root"

say "1/3 tools"
scripts/ensure.sh cc ip nft unshare nsenter setpriv setsid etcd curl envoy kubectl

say "2/3 building (some minutes the first time)"
cargo_as_builder build --locked --bins -p tortie -p tortie-authz -p yaobank

if is_root; then
    say "3/3 the demo"
else
    say "3/3 the demo, with sudo: the lab makes network namespaces"
fi
as_root env ENVOY="$(find_envoy)" KUBECTL="${KUBECTL:-}" "$(target_dir)/debug/tortie" demo yaobank "$@"
