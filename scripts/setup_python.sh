#!/bin/sh
# Makes .venv at the repository root, with what the Python scripts need
# (scripts/requirements.txt). Run it again at any time; it does only what is missing.
#
#     scripts/setup_python.sh
#
# Everything comes from PyPI, whose torch for Linux is a CUDA build that asks for all of
# CUDA, triton and more. We train on the CPU, so torch is installed without its
# dependencies and only what `import torch` itself needs is added:
#   - its pure Python dependencies;
#   - the CUDA libraries that libtorch_cuda.so is linked against: the loader insists on
#     each of them, though none is ever called. (Left out: triton, cusolver, nvjitlink,
#     nvtx, cuda-bindings, cccl, setuptools. torch.compile and GPUs would want them, and
#     pip says loudly that they are missing.)
# In all about 4 GB on disk: torch 1.2, CUDA 2.5. On other systems than Linux on x86-64
# pip installs whatever torch asks for there.
#
# PYTHON chooses the interpreter (3.11 or newer); pip's own variables (PIP_FIND_LINKS,
# PIP_INDEX_URL) are obeyed.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
requirements=scripts/requirements.txt
${PYTHON:-python3} -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup_python.sh: Python 3.11 or newer is needed; set PYTHON" >&2
    exit 1
}
[ -x $venv/bin/python ] || ${PYTHON:-python3} -m venv $venv

if [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
    $venv/bin/python -m pip install --quiet --no-deps "$(grep '^torch==' $requirements)" \
        nvidia-cublas==13.4.1.3 nvidia-cuda-cupti==13.2.86 nvidia-cuda-nvrtc==13.2.86 \
        nvidia-cuda-runtime==13.2.86 nvidia-cudnn-cu13==9.26.0.51 \
        nvidia-cufft==12.2.0.57 nvidia-cufile==1.17.1.22 nvidia-cusparse==12.7.10.12 \
        nvidia-cusparselt-cu13==0.8.1 nvidia-nccl-cu13==2.30.7 \
        nvidia-nvshmem-cu13==3.7.2
    echo "(pip may now report torch's CUDA dependencies as missing: that is intended)"
    $venv/bin/python -m pip install --quiet filelock fsspec jinja2 networkx \
        'sympy>=1.13.3' 'typing-extensions>=4.13' $(grep -v -e '^#' -e '^torch==' $requirements)
else
    $venv/bin/python -m pip install --quiet -r $requirements
fi

$venv/bin/python -c '
import numpy, safetensors, torch, transformers
a = torch.ones(2, 2, requires_grad=True)
(a @ a).sum().backward()
print(f"ready: torch {torch.__version__}, transformers {transformers.__version__}")'
echo "use it as: $venv/bin/python SCRIPT"
