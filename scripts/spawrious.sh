#!/usr/bin/env bash
# Spawrious: all six challenges (Lynch et al., 2023); every test image conflicts with the bias.
# Usage: bash scripts/spawrious.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" spawrious published selection=best_valid_accuracy metric=test/accuracy \
    methods=erm,lff,denetdm variants=o2o_easy,o2o_medium,o2o_hard,m2m_easy,m2m_medium,m2m_hard seeds=1-3 "$@"
