#!/usr/bin/env bash
# All that is measured on a GPU, in under nine minutes:   benchmarks/gpu.sh OUT [KEY=VALUE...]
# The tests take one to two; no measurement begins after seven more (minutes=N). The same command measures what is left.
#
# It needs nothing from the network. What it takes from the machine:
#   - python3 with torch 2.11 or newer, its torchvision, lightning, and a GPU driver; PYTHON=... names another Python
#   - packages that this Python lacks, as wheels in the folder that WHEELS names (default: .whl):
#         pip download --no-deps -d .whl hydra-core omegaconf platformdirs psutil
#         pip wheel --no-deps -w .whl antlr4-python3-runtime==4.9.3 captum .
#     (the last is this project: its code is taken from here, its version from the wheel)
#   - Oxford Flowers 102 below the folder that FLOWERS102_ROOT names, weights in FLOWERS_TL_WEIGHTS
#   - BACKBONES, networks with their weights (default: resnet18:DEFAULT,mobilenet_v2:DEFAULT, torchvision's own)
# It writes OUT/gpu.json after each measurement, OUT/gpu_tests.txt, and OUT/machine.txt. KEY=VALUE go to benchmarks/gpu.py.
#
#   benchmarks/gpu.sh --rehearse OUT     the same on a CPU with a few drawn flowers: does the script work?
set -uo pipefail
rehearse=false
if [ "${1:-}" = --rehearse ]; then rehearse=true; shift; fi
out=${1:?"name a folder for the results: benchmarks/gpu.sh OUT"}
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
wheels=${WHEELS:-.whl}
if compgen -G "$wheels/*.whl" > /dev/null; then
    site=$(mktemp -d)
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl || exit
    export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
backbones=${BACKBONES:-resnet18:DEFAULT,mobilenet_v2:DEFAULT}
few=()
if $rehearse; then
    export FLOWERS_TL_REHEARSE=1 CUDA_VISIBLE_DEVICES=
    backbones=resnet18:null
    drawings=$(mktemp -d)
    few=(data=synthetic "data.root=$drawings" data.num_classes=3 data.train_per_class=4 data.val_per_class=2
        data.test_per_class=2 data.image_size=32 trainer.max_epochs=2 sweep=2 workers=0 large=mobilenet_v3_small
        minutes=600)
else
    nvidia-smi > "$out/machine.txt" 2>&1
fi

# Side by side, where pytest-xdist is installed: most of their time is the start.
side_by_side=()
if "$python" -c "import xdist" 2> /dev/null && ! $rehearse; then side_by_side=(-n 8); fi
"$python" -m pytest -m gpu ${side_by_side[@]+"${side_by_side[@]}"} -q --no-header -p no:cacheprovider tests/gpu > "$out/gpu_tests.txt" 2>&1
tests=$?
tail -n 15 "$out/gpu_tests.txt"
"$python" -m benchmarks.gpu "out=$out/gpu.json" "backbones=$backbones" ${few[@]+"${few[@]}"} "$@" || exit
exit $tests
