#!/usr/bin/env bash
# Dogs & Cats: the data and ratios of BiasEnsemble (Lee et al., AAAI 2023). No published number is shown: its table is not at hand.
# Usage: bash scripts/dogs_and_cats.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" dogs_and_cats published \
    methods=erm,lff,lff_be,disent,disent_be,denetdm variants=pct1,pct5 seeds=1-3 "$@"
