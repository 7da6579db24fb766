#!/usr/bin/env bash
# UrbanCars: gaps to the accuracy in distribution, selected by the worst of the eight groups of the validation images
# as in the paper (Li et al., CVPR 2023).
# Usage: bash scripts/urbancars.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" urbancars published selection=best_valid_worst_intersection \
    methods=erm,jtt,lff,denetdm seeds=1-6 metric=test/bg_co_obj_gap "$@"
