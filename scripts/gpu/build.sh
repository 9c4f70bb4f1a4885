#!/usr/bin/env bash
# Builds and packs what scripts/gpu/run.sh runs on a machine that has a GPU, but neither
# Rust nor a network.
#
#     scripts/gpu/build.sh [PART...]         # of run.sh; default: all
#
# A part is packed into target/gpu/PART/files.tar.xz: its programs, in the profile dev as
# they are, less their symbols. They take CUDA's libraries when they run, so this needs
# no CUDA. What they read of this checkout (data/, tests/fixtures/) is not packed: it
# travels with the tracked files, and programs look for it under the path that the
# checkout has here, where run.sh makes a link to the one it is in.
#
# `nccl` brings a NCCL along, 2.30.7, in which ranks may share a GPU: an older one is
# what comes with torch 2.11. What it has for other GPUs than Hopper's is cut out.
#
# Ends with what it takes, and with an error if NCCL's part, or all the others, are more
# than 64 MiB with the tracked files: so much can be carried at once. (Once, of 68.7 in
# all, tracked files were 12.0 and NCCL's part 40.0.)
set -euo pipefail
cd "$(dirname "$0")/../.."

all=(doctor kernels ops parity train nccl compare)
parts=("$@")
[ $# -gt 0 ] || parts=("${all[@]}")
for part in "${parts[@]}"; do
    [[ " ${all[*]} " = *" $part "* ]] || {
        echo "build.sh: there is no part $part: expected some of ${all[*]}" >&2
        exit 2
    }
done
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
out=$PWD/target/gpu
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT

# What parts are made of, by package; test programs by their names as well.
declare -A programs=(
    [doctor]=doctor
    [train]='ch02_mixed_precision ch04_data_parallel ch05_tensor_parallel ch08_zero'
    [nccl]='ch04_data_parallel ch05_tensor_parallel'
    [compare]=gpu_worker
)
declare -A tests=([kernels]=suite [ops]=suite [parity]=device)

# One cargo for all programs, and one for all tests: what they share is built once.
flags=()
for part in "${parts[@]}"; do
    for package in ${programs[$part]:-}; do
        flags+=(-p "$package" --features "$package/cuda")
    done
done
[ ${#flags[@]} = 0 ] || cargo build --locked "${flags[@]}"
flags=()
for part in "${parts[@]}"; do
    name=${tests[$part]:-}
    [ -z "$name" ] || flags+=(-p "$part" --features "$part/cuda" --test "$name")
done
# Cargo says where test programs are.
[ ${#flags[@]} = 0 ] || cargo test --locked --no-run "${flags[@]}" \
    --message-format json-render-diagnostics >"$new/messages"
test_program() {
    python3 - "$new/messages" "$1" "$2" <<'END'
import json, sys

messages, package, name = sys.argv[1:]
for line in open(messages):
    message = json.loads(line)
    if (message.get("executable") and message["target"]["name"] == name
            and f"/{package}#" in message["package_id"]):
        print(message["executable"])
END
}

# pack PART FILE[=NAME]...: into the archive of that part.
pack() {
    local part=$1 file name
    shift
    mkdir -p "$new/$part/files" "$out/$part"
    for file; do
        name=${file##*=}
        file=${file%=*}
        name=$(basename "$name")
        [ -s "$file" ] || {
            echo "build.sh: $part: there is no $file" >&2
            exit 1
        }
        case $name in
        *.so*) cp -L "$file" "$new/$part/files/$name" ;;
        *) strip -o "$new/$part/files/$name" "$file" ;;
        esac
    done
    # By Python: it is what both machines have.
    python3 - "$new/$part/files" "$out/$part/files.tar.xz" <<'END'
import sys, tarfile

with tarfile.open(sys.argv[2] + ".new", "w:xz", preset=9) as archive:
    archive.add(sys.argv[1], ".")
END
    mv "$out/$part/files.tar.xz.new" "$out/$part/files.tar.xz"
}

# nccl: with what is not for Hopper zeroed, it packs well.
slim_nccl() {
    local from=$target/cuda
    scripts/setup_cuda.sh --all "$from" >&2
    python3 scripts/gpu/slim.py "$from/libnccl.so.2" "$new/libnccl.so.2" 90 >&2
    echo "$new/libnccl.so.2"
}

for part in "${parts[@]}"; do
    files=()
    for package in ${programs[$part]:-}; do files+=("$target/debug/$package"); done
    # Assigned first: a command that fails inside another's arguments would go unseen.
    if [ -n "${tests[$part]:-}" ]; then
        file=$(test_program "$part" "${tests[$part]}")
        files+=("$file=${tests[$part]}")
    fi
    if [ "$part" = nccl ]; then
        file=$(slim_nccl)
        files+=("$file")
    fi
    pack "$part" "${files[@]}"
done
pwd >"$out/root"
{
    git rev-parse HEAD
    git diff --quiet HEAD || echo and changes
} | paste -sd ' ' >"$out/commit"

# As they travel: with the tracked files.
tree=$(git ls-files -z | xargs -0 stat -c %s | awk '{ n += $1 } END { print n }')
find "$out" -name files.tar.xz -printf '%s %P\n' | sort -k2 | awk -v tree="$tree" '
    { sub("/.*", "", $2); printf "%8.1f MiB  %s\n", $1 / 2^20, $2 }
    $2 == "nccl" { nccl = $1 }
    $2 != "nccl" { others += $1 }
    END {
        printf "%8.1f MiB  tracked files\n", tree / 2^20
        printf "%8.1f MiB  with nccl, %.1f with all others\n",
            (tree + nccl) / 2^20, (tree + others) / 2^20
        if (tree + nccl > 64 * 2^20 || tree + others > 64 * 2^20) {
            print "more than the 64 MiB that can be carried" >"/dev/stderr"
            exit 1
        }
    }'
