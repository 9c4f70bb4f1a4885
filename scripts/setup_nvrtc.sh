#!/bin/sh
# Lays out NVRTC, NVIDIA's library that compiles CUDA kernels.
#
#     scripts/setup_nvrtc.sh [DEST]        # default: target/nvrtc
#
# It comes from PyPI, in a wheel for Linux on x86-64: a download of 90 MB, which pip may
# cache; 115 MB stay. It needs no GPU and no driver. A machine with a CUDA toolkit or
# with torch has it already. Run it again at any time: what is there stays as it is.
# Programs find it by
#
#     export LD_LIBRARY_PATH=$PWD/target/nvrtc
#
# Needs python3 with pip, of any version, for the download. PYTHON chooses it; pip's own
# variables (PIP_FIND_LINKS, PIP_INDEX_URL) are obeyed.
#
# Exit status: 0, it is there; 3, it cannot be had here, for the reason that the last
# line gives; anything else, something is wrong.
set -eu
cd "$(dirname "$0")/.."

version=13.0.88
hash=ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575
dest=${1:-${CARGO_TARGET_DIR:-target}/nvrtc}
python=${PYTHON:-python3}

cannot() {
    echo "NVRTC cannot be had: $1" >&2
    exit 3
}
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    cannot "its wheel is for Linux on x86-64, and this is $(uname -sm)"

if [ -e "$dest/version" ]; then
    [ "$(cat "$dest/version")" = $version ] || {
        echo "$dest has NVRTC $(cat "$dest/version"), not $version: remove it" >&2
        exit 1
    }
    echo "NVRTC $version is in $dest"
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

echo "nvidia-cuda-nvrtc==$version --hash=sha256:$hash" >"$new/requirements.txt"
echo "fetching NVRTC $version with pip: 90 MB, unless pip has them" >&2
# pip checks the hash.
"$python" -m pip download --quiet --no-deps --only-binary=:all: \
    --platform manylinux2010_x86_64 --dest "$new/wheels" --require-hashes \
    -r "$new/requirements.txt" >"$new/pip.log" 2>&1 || {
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
# The second is loaded by the first, when it compiles.
libraries = ["libnvrtc.so.13", "libnvrtc-builtins.so.13.0"]
os.makedirs(f"{new}/nvrtc")
for wheel in glob.glob(f"{new}/wheels/*.whl"):
    with zipfile.ZipFile(wheel) as files:
        for name in files.namelist():
            base = os.path.basename(name)
            if base not in libraries + ["License.txt"]:
                continue
            with files.open(name) as source, open(f"{new}/nvrtc/{base}", "wb") as out:
                shutil.copyfileobj(source, out)
missing = [name for name in libraries if not os.path.exists(f"{new}/nvrtc/{name}")]
if missing:
    sys.exit(f"the wheel lacks {missing}")
END
# The name that is looked for first: another, of a toolkit here, might come before it.
ln -s libnvrtc.so.13 "$new/nvrtc/libnvrtc.so"
echo $version >"$new/nvrtc/version"
mv "$new/nvrtc" "$dest"
echo "NVRTC $version is in $dest"
