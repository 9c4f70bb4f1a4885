#!/usr/bin/env bash
# Runs on a machine with a GPU what scripts/gpu/build.sh packed on one without.
#
#     scripts/gpu/run.sh PART...
#
#     doctor            what is there, how fast it is, and each kernel beside its twin
#     kernels           the tests of shared/kernels that run on a GPU
#     ops               each operation beside the same on the CPU
#     parity            chapters 1 to 8 beside chapter 1 in fp64
#     train             the programs of chapters 2, 4, 5 and 8, some steps each
#     nccl              two processes on one GPU, with NCCL between them
#     compare[=MODEL]   beside PyTorch: 125m (the default), 350m or 1.3b; further flags
#                       of compare.py in FERROTRON_COMPARE
#
# Every part has a time limit, and every test a process of its own: one that hangs, or
# loses the GPU, costs no other. Logs go to $OUT, or out/gpu, one or two files a part;
# what matters is printed, and a line per part at the end: ok, or FAILED.
# FERROTRON_LIMIT: seconds for each part, in place of its own limit.
#
# CUDA's libraries are taken from LD_LIBRARY_PATH, and behind it from the packages that
# torch brings (`python3 -c "import nvidia"`). FERROTRON_ANYWAY=1 goes on without a
# driver: to see what programs then say.
#
# Exit status: 0, all parts are ok; 1, one failed; 2, there is no such part; 3, there is
# no GPU here, or nothing was built.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit

# under SECONDS COMMAND...: killed after that; says so.
under() {
    local limit=$1 status=0
    shift
    timeout -k 5 "$limit" "$@" || status=$?
    [ "$status" != 124 ] && [ "$status" != 137 ] || echo "STOPPED after $limit s: $*"
    return "$status"
}

# each_test PROGRAM PART [FILTER]: every test in a process of its own, eight at a time,
# with at most 100 s for each.
each_test() {
    local program=$1 all failed
    all=$("$program" --list --format terse ${3:+"$3"} | sed -n 's/: test$//p')
    [ -n "$all" ] || {
        echo "$program has no tests"
        return 1
    }
    mkdir "$program.logs"
    # shellcheck disable=SC2016
    echo "$all" | xargs -P 8 -I {} bash -c '
        start=$(date +%s%N) status=0
        timeout --foreground -k 5 100 "$0" --exact "$1" --nocapture >"$0.logs/$1" 2>&1 || status=$?
        # It ran, and was the one: none at all would pass as well.
        grep -q "^test result: ok. 1 passed" "$0.logs/$1" || [ $status != 0 ] || status=none
        case $status in
        0) what=ok ;;
        124 | 137) what="FAILED (stopped after 100 s)" ;;
        *) what="FAILED ($status)" ;;
        esac
        ms=$((($(date +%s%N) - start) / 1000000))
        printf "%6d ms  %-60s %s\n" $ms "$1" "$what"' "$program" {}
    # All that they said, of which numbers of what passed are worth having.
    tail -v -n +1 "$program".logs/* | tail -c 8000000 >"$OUT/$2_tests.log"
    failed=$(grep -L '^test result: ok. 1 passed' "$program".logs/*)
    [ -n "$failed" ] || return 0
    for log in $failed; do
        printf '\n--- %s\n' "$(basename "$log")"
        tail -n 25 "$log" | cut -c1-400
    done
    return 1
}

# What chapters say of a few steps; and that they learnt.
train() {
    local files=$1 name status=0
    for name in ch02_mixed_precision ch04_data_parallel ch05_tensor_parallel ch08_zero; do
        local flags=(--precision bf16 --steps 40 --sample 20 --threads 4)
        [ "$name" != ch05_tensor_parallel ] || flags+=(--tp 2)
        [ "$name" != ch08_zero ] || flags+=(--zero 3)
        echo "--- $name ${flags[*]}"
        if ! timeout --foreground -k 5 60 "$files/$name" "${flags[@]}" --log "$files/$name.jsonl" ||
            ! learnt "$files/$name.jsonl"; then
            echo "--- $name FAILED"
            status=1
        fi
    done
    return "$status"
}

# learnt FILE: the loss of a log's last step is far below the first's.
learnt() {
    python3 - "$1" <<'END'
import json, sys

steps = [json.loads(line) for line in open(sys.argv[1])]
losses = [step["loss"] for step in steps if "loss" in step]
print(f"--- losses: {losses[0]:.4f} at first, {losses[-1]:.4f} after {len(losses)} steps")
sys.exit(not losses[-1] < 0.9 * losses[0])
END
}

# Two processes that share the GPU, as torchrun would start them on two hosts of one GPU
# each; beside the same ranks as threads of one process.
nccl() {
    local files=$1 name flags rank port=29517 status=0 steps
    for name in ch04_data_parallel ch05_tensor_parallel; do
        flags=(--precision fp32 --steps 10 --sample 0 --validation-sequences 16)
        [ "$name" != ch05_tensor_parallel ] || flags+=(--tp 2)
        echo "--- $name ${flags[*]}"
        timeout --foreground -k 5 60 "$files/$name" "${flags[@]}" --log "$files/$name.threads.jsonl" ||
            status=1
        local ranks=()
        for rank in 0 1; do
            RANK=$rank WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 \
                MASTER_ADDR=127.0.0.1 MASTER_PORT=$port \
                NCCL_MULTI_RANK_GPU_ENABLE=1 NCCL_DEBUG=INFO NCCL_DEBUG_SUBSYS=INIT,ENV \
                FERROTRON_NCCL=$files/libnccl.so.2 FERROTRON_COMM_TIMEOUT=30 \
                timeout --foreground -k 5 60 "$files/$name" "${flags[@]}" \
                --log "$files/$name.$rank.jsonl" >"$files/$name.$rank" 2>&1 &
            ranks+=($!)
        done
        for rank in 0 1; do
            wait "${ranks[$rank]}" || {
                echo "--- $name: rank $rank: exit status $?"
                status=1
            }
            sed "s/^/[$rank] /" "$files/$name.$rank" | cut -c1-200 | tail -n 40
        done
        # Without this, two programs that know nothing of each other would pass.
        steps=$(cat "$files/$name".[01] | grep -c 'Init COMPLETE')
        [ "$steps" -ge 2 ] || {
            echo "--- $name: NCCL did not start on both ranks"
            status=1
        }
        python3 - "$files/$name.threads.jsonl" "$files/$name.0.jsonl" <<'END' || status=1
import json, os, sys

if missing := [path for path in sys.argv[1:] if not os.path.exists(path)]:
    sys.exit(f"--- nothing to compare: no {' and no '.join(missing)}")

def losses(path):
    steps = [json.loads(line) for line in open(path)]
    return [step["loss"] for step in steps if "loss" in step]

threads, processes = map(losses, sys.argv[1:])
apart = max(abs(a / b - 1) for a, b in zip(processes, threads, strict=True))
print(f"--- losses of {len(threads)} steps are {apart:.1e} apart, threads and processes")
sys.exit(not apart < 1e-4)
END
        port=$((port + 1))
    done
    return "$status"
}

compare() {
    local files=$1 model=$2
    # An earlier run's is not to be taken for this one's.
    rm -f "$OUT/compare_$model.json"
    # shellcheck disable=SC2086
    python3 -u scripts/gpu/compare.py "$model" --dir "/tmp/ferrotron_compare/$model" \
        --ours "$files/gpu_worker" --record "$OUT/compare_$model.json" \
        ${FERROTRON_COMPARE:-}
}
# A part, whose files are unpacked: as another process, which can be stopped.
if [ "${1:-}" = --part ]; then
    files=$3
    case $2 in
    doctor) "$files/doctor" ;;
    kernels) each_test "$files/suite" kernels ;;
    # Of the others none asks for a GPU.
    ops) each_test "$files/suite" ops device:: ;;
    parity) each_test "$files/device" parity ;;
    train) train "$files" ;;
    nccl) nccl "$files" ;;
    compare) compare "$files" "$4" ;;
    esac
    exit
fi

missing() {
    echo "run.sh: $1" >&2
    exit 3
}
declare -A limits=(
    [doctor]=240 [kernels]=240 [ops]=180 [parity]=240 [train]=240 [nccl]=180
    [compare]=540
)
[ $# -gt 0 ] || {
    sed -n '2,/^set/s/^# \{0,1\}//p' scripts/gpu/run.sh
    exit 2
}
for part; do
    [ -n "${limits[${part%%=*}]:-}" ] || {
        echo "run.sh: there is no part $part: expected some of ${!limits[*]}" >&2
        exit 2
    }
    [ -s "target/gpu/${part%%=*}/files.tar.xz" ] ||
        missing "there is no target/gpu/${part%%=*}/files.tar.xz: run scripts/gpu/build.sh \
${part%%=*} where there is Rust, and carry target/gpu here"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=${OUT:-$PWD/out/gpu}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Programs look for data/ and tests/fixtures/ where they were built.
root=$(cat target/gpu/root)
if [ ! -e "$root" ]; then
    mkdir -p "$(dirname "$root")" && ln -s "$PWD" "$root"
fi
[ "$root/data/stories.jsonl" -ef data/stories.jsonl ] ||
    missing "programs look for data/ in $root, which is not this checkout: move it away"

# Of torch's packages: cu13/lib, cublas/lib, nccl/lib, ..., whichever there are.
for folder in $(python3 -c '
import glob, nvidia
for path in nvidia.__path__:
    print(*glob.glob(path + "/*/lib"), sep="\n")' 2>/dev/null); do
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
    # By this name NCCL is looked for alone, and the others first: a toolkit's would be
    # compared with PyTorch on another one.
    for library in libnccl.so.2 libcublasLt.so.13 libnvrtc.so.13; do
        name=$work/${library%.so.*}.so
        [ -e "$name" ] || [ ! -e "$folder/$library" ] ||
            ln -s "$folder/$library" "$name"
    done
done
export LD_LIBRARY_PATH=$work${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export FERROTRON_KERNELS=cuda RUST_BACKTRACE=0 OUT=$out

if [ -z "${FERROTRON_ANYWAY:-}" ]; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader ||
        missing "nvidia-smi finds no GPU"
fi
echo "built from $(cat target/gpu/commit)"


summary=()
failed=0
for part; do
    name=${part%%=*}
    model=125m
    [ "$part" = "$name" ] || model=${part#*=}
    files=$work/$name
    limit=${FERROTRON_LIMIT:-${limits[$name]}}
    printf '\n=== %s\n' "$part"
    mkdir -p "$files"
    python3 -c 'import sys, tarfile
tarfile.open(sys.argv[1]).extractall(sys.argv[2])' \
        "target/gpu/$name/files.tar.xz" "$files"
    SECONDS=0
    if under "$limit" scripts/gpu/run.sh --part "$name" "$files" "$model" 2>&1 | tee "$out/${part/=/_}.log"; then
        what=ok
    else
        what=FAILED
        failed=1
    fi
    # So much comes back.
    if [ "$(stat -c %s "$out/${part/=/_}.log")" -gt 8000000 ]; then
        tail -c 8000000 "$out/${part/=/_}.log" >"$work/log"
        mv "$work/log" "$out/${part/=/_}.log"
    fi
    summary+=("$(printf '%-16s %-6s %5d s' "$part" "$what" "$SECONDS")")
done
printf '\n=== summary\n'
printf '%s\n' "${summary[@]}"
exit "$failed"
