#!/usr/bin/env bash
# Proves the parity harness: breaks a copy of the workspace in every way that
# tests/mutants lists, and sees the named assertion of the named test fail.
#
#     scripts/mutants.sh [NAME...]
#     scripts/mutants.sh --check       # only that all of them, and the breaks of the
#                                      # book, still apply
#
# A mutant is a patch whose first lines say what it breaks and what must notice:
#
#     # WHAT IS WRONG
#     # test: ARGUMENTS OF cargo test
#     # says: A REGULAR EXPRESSION that the output of the failing test matches
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1-}" = --check ]; then
    failed=0
    for patch in tests/mutants/*.patch book/breaks/*.patch; do
        git apply --check "$patch" && continue
        echo "$patch no longer applies: make it anew" >&2
        failed=1
    done
    exit $failed
fi
if [ $# = 0 ]; then
    set -- $(cd tests/mutants && ls | sed 's/\.patch$//')
fi
failed=0
for name in "$@"; do
    patch=tests/mutants/$name.patch
    field() { sed -n "s/^# $1: //p" "$patch" | head -1; }
    tests=$(field test)
    says=$(field says)
    status=0
    # The arguments are words. A mutant may hang.
    # shellcheck disable=SC2086
    output=$(timeout 900 scripts/break.sh "$patch" $tests 2>&1) || status=$?
    what=$(sed -n '1s/^# //p' "$patch")
    if [ "$status" = 0 ] && grep -qE -- "$says" <<<"$output"; then
        printf 'killed    %s: %s\n' "$name" "$what"
        printf '          by "%s"\n' "$(grep -oE -- "$says" <<<"$output" | head -1)"
        continue
    fi
    failed=1
    case $status in
        0) verdict="noticed, but not by \"$says\"" ;;
        1) verdict=survived ;;
        124) verdict='hangs' ;;
        *) verdict='was not tried' ;;
    esac
    printf '%s\n%s: %s: %s\n' "$output" "$verdict" "$name" "$what"
done
exit $failed
