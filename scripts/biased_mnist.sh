#!/usr/bin/env bash
# Biased MNIST: ReBias's Table 1 (Bahng et al., ICML 2020), and EnD's (Tartaglione et al., CVPR 2021), whose settings were searched.
# Usage: bash scripts/biased_mnist.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" biased_mnist published \
    methods=erm,vanilla_biased,rubi,learned_mixin,rebias,end variants=rho999,rho997,rho995,rho990 seeds=1-3 "$@"
