#!/bin/sh
# Builds a virtual environment with the official implementation: mmedit 0.16.1 on mmcv-full 1.7.2.
#
#     tests/reference/make_environment.sh FOLDER        (PYTHON=python3.12 for another interpreter)
#
# mmcv-full exists as source only. Compiling it takes about 8 minutes on two cores, once: run again, this script does
# only what is missing. A C++17 compiler is needed.
set -eu

environment=${1:?usage: make_environment.sh FOLDER}
cd "$(dirname "$0")/../.."
here=tests/reference

if [ ! -x "$environment/bin/python" ]; then
    python=${PYTHON:-python3}
    # The last NumPy 1 has no wheels for later versions.
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || {
        echo "make_environment.sh: $python is not Python 3.11 or 3.12: name one with PYTHON=..." >&2
        exit 2
    }
    "$python" -m venv "$environment"
fi
install() {
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

install --requirement "$here/requirements.txt" --constraint constraints.txt
install --editable . --constraint "$here/requirements.txt" --constraint constraints.txt

# mmedit imports mmcv's compiled operators, but the networks that are compared here run none of them. So no CUDA
# version of them is built, which would want a CUDA compiler, and compiling fast counts for more than fast code.
# No isolation: setup.py imports torch. No dependencies: they would bring a second OpenCV.
if ! "$environment/bin/python" -m pip show --quiet mmcv-full 2>/dev/null; then
    echo "compiling mmcv-full 1.7.2, once: about 8 minutes on two cores"
    export CUDA_VISIBLE_DEVICES='' MMCV_WITH_OPS=1 MAX_JOBS="${MAX_JOBS:-2}" CFLAGS='-O0 -g0' CXXFLAGS='-O0 -g0'
    install --no-build-isolation --no-deps mmcv-full==1.7.2
fi

# No dependencies here either: most of them serve what is not compared (face restoration, training logs, LMDB).
install --no-deps mmedit==0.16.1

"$environment/bin/python" -c 'from vsr_pipeline.enhance.realbasicvsr_mmedit import official_networks; official_networks()'
echo "ready: $environment/bin/vsr enhance --backend mmedit"
