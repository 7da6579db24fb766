#!/usr/bin/env bash
# Biased Action Recognition, as in DeNetDM's Table 2 (Sreelatha et al., NeurIPS 2024), which is without BiasEnsemble.
# Usage: bash scripts/bar.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" bar published \
    methods=erm,lff,lff_be,disent,disent_be,denetdm variants=pct1,pct5 seeds=1-5 "$@"
