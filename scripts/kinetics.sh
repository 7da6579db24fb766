#!/usr/bin/env bash
# Kinetics and Mimetics, 10 classes: ReBias's Table 3 (Bahng et al., ICML 2020).
# Usage: bash scripts/kinetics.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" kinetics10 published \
    methods=erm,vanilla_biased,rubi,learned_mixin,rebias seeds=1-3 "$@"
