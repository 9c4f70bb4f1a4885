#!/usr/bin/env bash
# Rust lines are at most 88 columns, so that a diff fits a page of the book. rustfmt
# leaves comments, strings and macros alone, hence this check.
set -euo pipefail
cd "$(dirname "$0")/.."
if git ls-files -z '*.rs' | LC_ALL=C.UTF-8 xargs -0 grep -nHE '^.{89}'; then
    echo 'these lines are longer than 88 columns' >&2
    exit 1
fi
