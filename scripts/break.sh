#!/usr/bin/env bash
# Breaks a copy of the workspace on purpose, and shows what notices.
#
#     scripts/break.sh book/breaks/NAME.patch -p PACKAGE ...
#
# Copies the tracked and new files to target/break, applies the patch there and runs
# `cargo test` with the other arguments in that folder. Your files are left as they are.
# Succeeds if the tests run and fail: a break that nothing notices is an error, with
# status 1; one that no longer applies, or does not build, is one with status 3.
#
#     scripts/break.sh --run book/breaks/NAME.patch -p PACKAGE -- ...
#
# Runs the broken program instead, with `cargo run`, and ends as it does.
set -euo pipefail
how=test
if [ "${1-}" = --run ]; then
    how=run
    shift
fi
if [ $# -lt 2 ]; then
    echo "usage: scripts/break.sh [--run] PATCH ARGUMENT_OF_CARGO..." >&2
    exit 2
fi
cd "$(dirname "$0")/.."
patch=$(realpath "$1")
shift
root=$PWD
copy=$root/target/break
# Artifacts of its own: cargo knows a workspace's crates by their paths inside it, so in a
# common folder it would take what was built from the broken copy for yours.
export CARGO_TARGET_DIR=$root/target/break-artifacts
export CARGO_TERM_COLOR=never RUST_BACKTRACE=0

mkdir -p "$copy"
new=$(mktemp -d "$root/target/break.XXXXXX")
trap 'rm -rf "$new"' EXIT
git ls-files -z -co --exclude-standard | tar --null -T - --ignore-failed-read -c \
    2>/dev/null | tar -x -C "$new"
# Outside of any repository, as far as git is told, so that paths are this folder's.
cd "$new"
if ! GIT_CEILING_DIRECTORIES=$root git apply "$patch"; then
    echo "error: ${patch#"$root"/} no longer applies: make it anew" >&2
    exit 3
fi
# Of the copy that an earlier break left, what is the same stays untouched: cargo looks
# at times, and builds only what is new.
(cd "$copy" && find . -type f -print0) | while IFS= read -r -d '' file; do
    [ -e "$new/$file" ] || rm "$copy/$file"
done
find . -type f -print0 | while IFS= read -r -d '' file; do
    if ! cmp -s "$file" "$copy/$file"; then
        mkdir -p "$copy/$(dirname "$file")"
        cp "$file" "$copy/$file"
    fi
done
cd "$copy"
if [ $how = run ]; then
    status=0
    cargo run --quiet "$@" || status=$?
    exit $status
fi
if ! cargo test --no-run --quiet "$@" >"$new/build.log" 2>&1; then
    cat "$new/build.log" >&2
    echo "error: with ${patch#"$root"/} it does not even build" >&2
    exit 3
fi
if cargo test --quiet "$@" 2>&1; then
    echo "error: nothing noticed ${patch#"$root"/}" >&2
    exit 1
fi
