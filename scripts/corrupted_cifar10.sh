#!/usr/bin/env bash
# Corrupted CIFAR-10, as in DeNetDM's Table 1 (Sreelatha et al., NeurIPS 2024), which is without BiasEnsemble.
# Usage: bash scripts/corrupted_cifar10.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" corrupted_cifar10 severity4 published \
    methods=erm,lff,lff_be,disent,disent_be,denetdm variants=type0+skewed4,type0+skewed3,type0+skewed2,type0+skewed1 seeds=1-5 "$@"
