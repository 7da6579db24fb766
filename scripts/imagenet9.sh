#!/usr/bin/env bash
# 9-class ImageNet, with ImageNet-A: ReBias's Table 2 (Bahng et al., ICML 2020).
# Usage: bash scripts/imagenet9.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" imagenet9 imagenet_a published \
    methods=erm,vanilla_biased,rubi,learned_mixin,rebias seeds=1-3 "$@"
