#!/bin/sh
# Lays out libraries of CUDA in one folder: NVRTC, which compiles kernels, and with --all
# what a GPU takes besides, cuBLASLt for matrix products and NCCL for communication.
#
#     scripts/setup_cuda.sh [--all] [DEST]        # default: target/cuda
#
# They come from PyPI, in wheels for Linux on x86-64, which pip may cache:
#
#               download    stays
#     NVRTC        90 MB   114 MB
#     cuBLASLt    423 MB   542 MB
#     NCCL        216 MB   252 MB
#
# (Once, the last two took half a minute.) It needs no GPU, and brings no driver: that
# comes with a machine that has one. A machine with a CUDA toolkit or with torch
# has them already. Run it again at any time, with --all after without: what is there
# stays as it is. Programs find them by
#
#     export LD_LIBRARY_PATH=$PWD/target/cuda
#
# Needs python3 with pip, of any version, for the download. PYTHON chooses it; pip's own
# variables (PIP_FIND_LINKS, PIP_INDEX_URL) are obeyed.
#
# Exit status: 0, they are there; 3, one cannot be had here, for the reason that the last
# line gives; 2, there is no such flag; anything else, something is wrong.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
all=
dest=
for argument; do
    case $argument in
    --all) all=yes ;;
    -* | '')
        echo "setup_cuda.sh: $argument: expected --all, or a folder to be made" >&2
        exit 2
        ;;
    *)
        [ -z "$dest" ] || {
            echo "setup_cuda.sh: $dest and $argument: expected one folder" >&2
            exit 2
        }
        dest=$argument
        ;;
    esac
done
dest=${dest:-${CARGO_TARGET_DIR:-target}/cuda}

cannot() {
    echo "$1 cannot be had: $2" >&2
    exit 3
}
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    cannot NVRTC "its wheel is for Linux on x86-64, and this is $(uname -sm)"
# A library's version is written beside it when all of it is there.
[ ! -e "$dest" ] || [ -e "$dest/NVRTC.version" ] || {
    echo "$dest exists and is not what this script makes: remove it, or name another" >&2
    exit 1
}

new=
trap 'rm -rf "$new"' EXIT
trap 'exit 130' INT TERM

# fetch LIBRARY MEGABYTES PACKAGE VERSION PLATFORM HASH FILE...: each FILE of the wheel
# into $dest. The first is also given the name without a number, which is looked for
# first: another, of a toolkit here, might come before it. (NCCL is looked for by no
# other name.)
fetch() {
    library=$1 size=$2 package=$3 version=$4 platform=$5 hash=$6
    shift 6
    if [ -e "$dest/$library.version" ]; then
        there=$(cat "$dest/$library.version")
        [ "$there" = "$version" ] || {
            echo "$dest has $library $there, not $version: remove it" >&2
            exit 1
        }
        echo "$library $version is in $dest"
        return
    fi
    "$python" -m pip --version >/dev/null 2>&1 ||
        cannot "$library" "there is no $python with pip: install it, or set PYTHON"
    mkdir -p "$(dirname "$dest")"
    # Beside the destination: on the same disk, and large enough if that is.
    new=$(mktemp -d "$dest.XXXXXX")
    echo "$package==$version --hash=sha256:$hash" >"$new/requirements.txt"
    echo "fetching $library $version with pip: $size MB, unless pip has them" >&2
    # pip checks the hash.
    "$python" -m pip download --quiet --no-deps --only-binary=:all: \
        --platform "$platform" --dest "$new/wheels" --require-hashes \
        -r "$new/requirements.txt" >"$new/pip.log" 2>&1 || {
        cat "$new/pip.log" >&2
        if grep -qi 'do not match the hashes' "$new/pip.log"; then
            echo "what pip fetched is not what it should be: see above" >&2
            exit 1
        fi
        cannot "$library" \
            "pip could not fetch it: $(sed -n 's|^ERROR: ||p' "$new/pip.log" | tail -1)"
    }
    "$python" - "$new" "$library" "$@" <<'END'
import glob, os, shutil, sys, zipfile

new, library, *files = sys.argv[1:]
os.makedirs(f"{new}/lib")
for wheel in glob.glob(f"{new}/wheels/*.whl"):
    with zipfile.ZipFile(wheel) as whole:
        for name in whole.namelist():
            base = os.path.basename(name)
            if base in files:
                to = base
            elif base.lower() in ("license.txt", "license"):
                to = f"{library}.license"
            else:
                continue
            with whole.open(name) as source, open(f"{new}/lib/{to}", "wb") as out:
                shutil.copyfileobj(source, out)
missing = [name for name in files if not os.path.exists(f"{new}/lib/{name}")]
if missing:
    sys.exit(f"the wheel lacks {missing}")
END
    ln -s "$1" "$new/lib/${1%.so.*}.so"
    mkdir -p "$dest"
    mv "$new"/lib/* "$dest"
    # Last: what is there by now is all of it.
    echo "$version" >"$dest/$library.version"
    rm -rf "$new"
    echo "$library $version is in $dest"
}

# Of CUDA 13.0. The second is loaded by the first, when it compiles.
fetch NVRTC 90 nvidia-cuda-nvrtc 13.0.88 manylinux2010_x86_64 \
    ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575 \
    libnvrtc.so.13 libnvrtc-builtins.so.13.0
[ -n "$all" ] || exit 0
fetch cuBLASLt 423 nvidia-cublas 13.1.0.3 manylinux_2_27_x86_64 \
    ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171 \
    libcublasLt.so.13
# With 2.30, several ranks may share a GPU (NCCL_MULTI_RANK_GPU_ENABLE).
fetch NCCL 216 nvidia-nccl-cu13 2.30.7 manylinux_2_18_x86_64 \
    cefa7fdb9710efd0f39c5f1be1d61ff6fc9a996c451265bd7fbdcf9455ed4b50 \
    libnccl.so.2
