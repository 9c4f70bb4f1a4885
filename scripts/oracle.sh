#!/bin/sh
# Compares our training with an independent one on libtorch: tests/oracle.
#
#     scripts/oracle.sh                  # its tests; further arguments go to cargo test
#     scripts/oracle.sh table            # the table of distances in its README
#     scripts/oracle.sh check            # formatting and clippy, for CI
#
# Fetches libtorch first if need be (setup_libtorch.sh has the details); LIBTORCH names
# one that you have, of the same version. Everything goes to target/, or to
# CARGO_TARGET_DIR if that is set. Exit status 3: libtorch cannot be had.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
if [ -z "${LIBTORCH:-}" ]; then
    scripts/setup_libtorch.sh "$target/libtorch"
    LIBTORCH=$target/libtorch
fi
# Absolute: build scripts run elsewhere.
LIBTORCH=$(cd "$LIBTORCH" && pwd)
LD_LIBRARY_PATH=$LIBTORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# The workspace's own folder, though this is another workspace: what both take from
# crates.io is built once, which is more than half of the time. (The house's crates are
# built for each: cargo tells them apart by workspace.)
CARGO_TARGET_DIR=$target
export LIBTORCH LD_LIBRARY_PATH CARGO_TARGET_DIR

manifest=tests/oracle/Cargo.toml
case ${1:-} in
table)
    exec cargo run --locked --quiet --manifest-path $manifest
    ;;
check)
    cargo fmt --check --manifest-path $manifest
    exec cargo clippy --locked --all-targets --manifest-path $manifest -- -D warnings
    ;;
*)
    exec cargo test --locked --manifest-path $manifest "$@"
    ;;
esac
