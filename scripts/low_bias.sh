#!/usr/bin/env bash
# Weak biases: 10 to 90 % of the training images conflict. DATA: colored_mnist (default) or corrupted_cifar10.
# Usage: bash scripts/low_bias.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" "${DATA:-colored_mnist}" severity4 \
    methods=erm,lff,disent,denetdm variants=conflicting10,conflicting30,conflicting50,conflicting70,conflicting90 seeds=1-3 "$@"
