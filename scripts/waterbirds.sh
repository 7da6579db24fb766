#!/usr/bin/env bash
# Waterbirds: the worst group, selected on the validation images as in the papers (Sagawa et al., ICLR 2020).
# Usage: bash scripts/waterbirds.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" waterbirds published selection=best_valid_worst_group \
    methods=erm,group_dro,jtt,dfr,afr seeds=1-5 "$@"
