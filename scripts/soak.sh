#!/usr/bin/env bash
# Runs all tests, the random ones with many cases, again and again for a while, then the fuzz
# targets where cargo-fuzz and nightly Rust are installed. Stops at the first failure.
#
#   scripts/soak.sh [MINUTES]      60 by default; half of it for the fuzz targets, if they can run
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

minutes=${1:-60}
[[ $minutes =~ ^[1-9][0-9]*$ ]] || fail "\`$minutes\` is not a number of minutes"
seconds=$((minutes * 60))
if cargo +nightly fuzz --version >/dev/null 2>&1; then
    tests=$((seconds / 2))
else
    say "without cargo-fuzz and nightly Rust: no fuzz targets"
    tests=$seconds
fi

scripts/ensure.sh cc ip nft unshare nsenter setpriv setsid etcd chromium curl openssl envoy kubectl
ENVOY=$(find_envoy)
export ENVOY
export PROPTEST_CASES=${PROPTEST_CASES:-20000}
export TORTIE_KERNEL_PROBES=${TORTIE_KERNEL_PROBES:-100000}
export TORTIE_KERNEL_UPDATES=${TORTIE_KERNEL_UPDATES:-5000}
export TORTIE_KILLS=${TORTIE_KILLS:-500}
export TORTIE_AWAY_SECONDS=${TORTIE_AWAY_SECONDS:-60}
export TORTIE_INTERFACE_PAIRS=${TORTIE_INTERFACE_PAIRS:-5000}
export TORTIE_RECORDER_CHECKS=${TORTIE_RECORDER_CHECKS:-1000000}

SECONDS=0
round=0
while [ "$SECONDS" -lt "$tests" ]; do
    round=$((round + 1))
    say "round $round of the tests, $PROPTEST_CASES cases a property, $((SECONDS / 60)) min in"
    cargo test --locked --release --workspace --quiet
done
if [ "$tests" -eq "$seconds" ]; then exit; fi

mapfile -t targets < <(cargo +nightly fuzz list)
each=$(((seconds - tests) / ${#targets[@]}))
for target in "${targets[@]}"; do
    say "fuzzing $target for $each s"
    dictionary=fuzz/dictionaries/$target.dict
    options=(-max_total_time="$each" -max_len=4096)
    if [ -f "$dictionary" ]; then options+=(-dict="$dictionary"); fi
    cargo +nightly fuzz run "$target" -- "${options[@]}"
done
