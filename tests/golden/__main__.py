"""Command line: `python -m tests.golden FILE [FILE...]`.

Replays each file and prints, for every recorded series, the largest relative error and the tolerance.
Exit code 0: all within tolerance; 1: some are not; 2: a file cannot be read or replayed.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from debiaslab.core.errors import UserError, one_of
from tests.golden import denetdm, dpr, ecs_ga, end, group_methods, jtt, lc, lff_family, protocol, rebias, selecmix, xrm
from tests.golden.format import Comparison, GoldenFile, Unreadable
from tests.golden.rounding import allowing_for_rounding

REPLAYS: dict[str, Callable[[GoldenFile], list[Comparison]]] = {
    "bias_balance": group_methods.replay_bias_balance,
    "denetdm": denetdm.replay,
    "disent": lff_family.replay_disent,
    "disent_be": lff_family.replay_disent_be,
    "dpr": dpr.replay,
    "ecs_ga": ecs_ga.replay,
    "end": allowing_for_rounding(end.replay),
    "group_dro": group_methods.replay_group_dro,
    "jtt": jtt.replay,
    "lc": lc.replay,
    "learned_mixin": allowing_for_rounding(rebias.replay),
    "lff": lff_family.replay_lff,
    "lff_be": lff_family.replay_lff_be,
    "rebias": allowing_for_rounding(rebias.replay),
    "rubi": allowing_for_rounding(rebias.replay),
    "selecmix": selecmix.replay,
    "vanilla_biased": allowing_for_rounding(rebias.replay),
    "xrm": xrm.replay,
}


def replay(path: Path) -> list[Comparison]:
    """All comparisons of one file. Raises `Unreadable` for a file that is damaged or that there is no replay for."""
    file = GoldenFile(path)
    method = file.meta.get("method")
    if method is not None and method not in REPLAYS:
        raise Unreadable(f"{path}: no replay of method {method!r}; one of {one_of(REPLAYS)}")
    try:
        return protocol.replay(file) if method is None else REPLAYS[method](file)
    except UserError as error:
        raise Unreadable(f"{path}: {error}") from error
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise Unreadable(f"{path}: not of the documented format: {type(error).__name__} {error}") from error


def main(paths: list[str]) -> int:
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    code = 0
    for path in map(Path, paths):
        try:
            comparisons = replay(path)
        except Unreadable as error:
            print(f"cannot replay {error}", file=sys.stderr)
            code = 2
            continue
        print(path)
        for comparison in comparisons:
            verdict = "ok" if comparison.passed else "FAILED"
            cause = "chance" if comparison.sampling > comparison.rounding else "rounding"
            noise = f", {comparison.allowed:.1e} with {cause}" if comparison.allowed > comparison.tolerance else ""
            allowed = f"(at most {comparison.tolerance:.0e}{noise})"
            print(f"  {verdict:6} {comparison.error:8.1e} {allowed}  {comparison.series}")
        if not all(comparison.passed for comparison in comparisons):
            code = max(code, 1)
    return code


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
