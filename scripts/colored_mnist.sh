#!/usr/bin/env bash
# Colored MNIST: methods x ratios x seeds, by the authors' protocol.
#
#   bash scripts/colored_mnist.sh
#   METHODS="denetdm" SKEWS="skewed4" SEEDS="1 2 3 4 5" bash scripts/colored_mnist.sh data.root=/path adam
#
# Arguments are handed on to main.py, after `with`. Records go to $DEBIAS_LOGS (default runs). At the end: the results beside
# the published ones.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}
methods=${METHODS:-erm lff lff_be disent disent_be denetdm}
skews=${SKEWS:-skewed4 skewed3 skewed2 skewed1}
seeds=${SEEDS:-1 2 3}

for skew in $skews; do
    for seed in $seeds; do
        for method in $methods; do
            "$python" main.py with server_user colored_mnist severity4 published "$skew" method="$method" seed="$seed" "$@"
        done
    done
done
"$python" main.py results with server_user colored_mnist severity4 published
