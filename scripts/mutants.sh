#!/usr/bin/env bash
# Proves the parity harness: breaks a copy of the workspace in every way that
# tests/mutants lists, and sees the named assertion of the named test fail.
#
#     scripts/mutants.sh [NAME...]
#
# A mutant is a patch whose first lines say what it breaks and what must notice:
#
#     # WHAT IS WRONG
#     # test: ARGUMENTS OF cargo test
#     # says: A REGULAR EXPRESSION that the output of the failing test matches
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# = 0 ]; then
    set -- $(cd tests/mutants && ls | sed 's/\.patch$//')
fi
failed=0
for name in "$@"; do
    patch=tests/mutants/$name.patch
    field() { sed -n "s/^# $1: //p" "$patch" | head -1; }
    tests=$(field test)
    says=$(field says)
    # The arguments are words.
    # shellcheck disable=SC2086
    if ! output=$(scripts/break.sh "$patch" $tests 2>&1); then
        printf '%s\nsurvived  %s: %s\n' "$output" "$name" "$(sed -n '1s/^# //p' "$patch")"
        failed=1
    elif ! grep -qE -- "$says" <<<"$output"; then
        printf '%s\nnoticed, but not by "%s"  %s\n' "$output" "$says" "$name"
        failed=1
    else
        printf 'killed    %s: %s\n' "$name" "$(sed -n '1s/^# //p' "$patch")"
        printf '          by "%s"\n' "$(grep -oE -- "$says" <<<"$output" | head -1)"
    fi
done
exit $failed
