#!/usr/bin/env bash
# CelebA: DeNetDM's Table 2 (Sreelatha et al., NeurIPS 2024), the worst group.
# Usage: bash scripts/celeba.sh [list=True] [WORD...]; METHODS, VARIANTS, SEEDS, JOBS and more: see study.sh
exec bash "$(dirname "$0")/study.sh" celeba published selection=oracle_test_worst_group \
    methods=erm,lff,denetdm seeds=1-5 "$@"
