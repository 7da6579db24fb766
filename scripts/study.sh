#!/usr/bin/env bash
# What the scripts of the data sets share: a study (docs/studies.md) of the words given, with server_user's folders.
#
#   METHODS="erm lff" VARIANTS="skewed4 skewed1" SEEDS="1 2 3" JOBS=2 bash scripts/NAME.sh [WORD...]
#
# METHODS, VARIANTS, SEEDS and JOBS replace the script's own. WORDs are further settings, or list=True to see the runs.
# PYTHON is the interpreter; DEBIAS_DATA, DEBIAS_LOGS and DEBIAS_MONGO_URL are the places of data and records.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)}

for name in methods variants seeds jobs; do
    variable=${name^^}
    if [ -n "${!variable:-}" ]; then
        value=${!variable// /,}
        if [[ $name = seeds && $value =~ ^[0-9]+$ ]]; then
            value=$value-$value # that one, not so many
        fi
        set -- "$@" "$name=$value"
    fi
done
exec "$python" main.py study with server_user "$@"
