#!/bin/sh
# Lays out libtorch, torch's C++ library, for tests/oracle: include/ and lib/.
#
#     scripts/setup_libtorch.sh [DEST]     # default: target/libtorch
#
# It comes from PyPI, out of the wheels for Linux on x86-64, and of them only what
# compiling and running on a CPU needs: the headers, libtorch_cpu, libc10, libgomp, and
# the two CUDA libraries that libtorch_cpu is linked against, though neither is ever
# called. A download of 540 MB, which pip may cache; 0.5 GB stay. Run it again at any
# time: what is there stays as it is.
#
# Needs python3 with pip, of any version, for the download, and a C++ compiler for what
# is built on it. PYTHON and CXX choose them; pip's own variables (PIP_FIND_LINKS,
# PIP_INDEX_URL) are obeyed.
#
# Exit status: 0, it is there; 3, it cannot be had here, for the reason that the last
# line gives; anything else, something is wrong.
set -eu
cd "$(dirname "$0")/.."

version=2.13.0
dest=${1:-${CARGO_TARGET_DIR:-target}/libtorch}
python=${PYTHON:-python3}

cannot() {
    echo "libtorch cannot be had: $1" >&2
    exit 3
}
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    cannot "it is taken from the wheels for Linux on x86-64, and this is $(uname -sm)"
command -v "${CXX:-c++}" >/dev/null ||
    cannot "there is no C++ compiler ${CXX:-c++}: install g++ or clang++, or set CXX"

if [ -e "$dest/build-version" ]; then
    [ "$(cat "$dest/build-version")" = $version ] || {
        echo "$dest has libtorch $(cat "$dest/build-version"), not $version: remove it" >&2
        exit 1
    }
    echo "libtorch $version is in $dest"
    exit 0
fi
[ ! -e "$dest" ] || {
    echo "$dest exists and is not what this script makes: remove it, or name another" >&2
    exit 1
}

"$python" -m pip --version >/dev/null 2>&1 ||
    cannot "there is no $python with pip: install it, or set PYTHON"
mkdir -p "$(dirname "$dest")"
# Beside the destination: on the same disk, and large enough if that is.
new=$(mktemp -d "$dest.XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 130' INT TERM

# The wheel for whichever Python has these libraries; this one's hash is written here.
cat >"$new/requirements.txt" <<END
torch==$version --hash=sha256:60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti==13.0.85 --hash=sha256:4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
END
echo "fetching libtorch $version with pip: 540 MB, unless pip has them" >&2
# pip checks the hashes.
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --dest "$new/wheels" --require-hashes -r "$new/requirements.txt" \
    >"$new/pip.log" 2>&1 || {
    cat "$new/pip.log" >&2
    if grep -qi 'do not match the hashes' "$new/pip.log"; then
        echo "what pip fetched is not what it should be: see above" >&2
        exit 1
    fi
    cannot "pip could not fetch it: $(sed -n 's|^ERROR: ||p' "$new/pip.log" | tail -1)"
}

"$python" - "$new" <<'END'
import glob, os, shutil, sys, zipfile

new = sys.argv[1]
libraries = ["libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcudart.so.13",
             "libcupti.so.13"]
os.makedirs(f"{new}/libtorch/lib")
for wheel in glob.glob(f"{new}/wheels/*.whl"):
    with zipfile.ZipFile(wheel) as files:
        for name in files.namelist():
            base = os.path.basename(name)
            if name.startswith("torch/include/") and base:
                to = f"{new}/libtorch/{name.removeprefix('torch/')}"
                os.makedirs(os.path.dirname(to), exist_ok=True)
            elif base in libraries:
                to = f"{new}/libtorch/lib/{base}"
            else:
                continue
            with files.open(name) as source, open(to, "wb") as out:
                shutil.copyfileobj(source, out)
missing = [name for name in libraries if not os.path.exists(f"{new}/libtorch/lib/{name}")]
if missing or not os.path.exists(f"{new}/libtorch/include/torch/csrc/api"):
    sys.exit(f"the wheels lack {missing or 'headers'}")
END
# torch-sys links these two by these names. (The wheel's own libtorch.so is an empty
# shell that asks for libtorch_cuda.so.)
ln -s libtorch_cpu.so "$new/libtorch/lib/libtorch.so"
ln -s libgomp.so.1 "$new/libtorch/lib/libgomp.so"
# torch-sys reads this one, and compares.
echo $version >"$new/libtorch/build-version"
mv "$new/libtorch" "$dest"
echo "libtorch $version is in $dest"
