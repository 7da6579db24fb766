#!/usr/bin/env bash
# BFFHQ, as in DeNetDM's Table 2 (Sreelatha et al., NeurIPS 2024), which is without BiasEnsemble.
# Usage: bash scripts/bffhq.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" bffhq published selection=oracle_test_conflicting \
    methods=erm,lff,lff_be,disent,disent_be,denetdm variants=pct0_5 seeds=1-5 "$@"
