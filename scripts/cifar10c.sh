#!/usr/bin/env bash
# Corrupted CIFAR-10 in the folders of DisEnt's and BiasEnsemble's authors (Lee et al., NeurIPS 2021 and AAAI 2023), with their ratios.
# No published number is shown: their tables are not at hand.
# Usage: bash scripts/cifar10c.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" cifar10c published \
    methods=erm,lff,lff_be,disent,disent_be,denetdm variants=pct0_5,pct1,pct2,pct5 seeds=1-3 "$@"
