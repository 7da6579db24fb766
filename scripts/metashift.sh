#!/usr/bin/env bash
# MetaShift's cats and dogs: the worst group, selected on the validation images as in SubpopBench (ICML 2023).
# Usage: bash scripts/metashift.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" metashift published selection=best_valid_worst_group \
    methods=erm,lff,denetdm seeds=1-3 "$@"
