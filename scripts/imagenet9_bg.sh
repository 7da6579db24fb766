#!/usr/bin/env bash
# ImageNet-9 with other backgrounds (Xiao et al., ICLR 2021): the BG-gap of the last epoch.
# Usage: bash scripts/imagenet9_bg.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" imagenet9_bg published selection=last metric=bg_gap/accuracy \
    methods=erm,lff,denetdm seeds=1-3 "$@"
