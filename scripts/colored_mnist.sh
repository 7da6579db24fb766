#!/usr/bin/env bash
# Colored MNIST, as in DeNetDM's Table 1 (Sreelatha et al., NeurIPS 2024), which is without BiasEnsemble.
# Usage: bash scripts/colored_mnist.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" colored_mnist severity4 published \
    methods=erm,lff,lff_be,disent,disent_be,denetdm variants=skewed4,skewed3,skewed2,skewed1 seeds=1-5 "$@"
