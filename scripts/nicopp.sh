#!/usr/bin/env bash
# NICO++: the worst of 360 groups, selected on the validation images as in SubpopBench (ICML 2023).
# Usage: bash scripts/nicopp.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" nicopp published selection=best_valid_worst_group \
    methods=erm,lff,denetdm seeds=1-3 "$@"
