#!/usr/bin/env bash
# DeNetDM and ERM on coloured digits, side by side. Usage: bash scripts/demo.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python}
folder=runs/demo-$(date +%Y%m%d-%H%M%S)

for method in denetdm erm; do
    echo "training $method on coloured digits ..."
    "$python" main.py with digits method="$method" log_dir="$folder"
    echo
done
"$python" main.py compare "$folder"
