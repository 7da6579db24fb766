"""Command line: `python -m benchmarks [NAME...]`; without a name, all of them."""

import core  # noqa: F401 (first: it sets what torch reads when it is imported)

# isort: split
import sys
from collections.abc import Callable

from benchmarks import corruptions, denetdm_epochs, loading, queries, resized_crops, video_reading
from core.errors import UserError, require_known

BENCHMARKS: dict[str, Callable[[], object]] = {
    "corruptions": corruptions.run,
    "denetdm_epochs": denetdm_epochs.run,
    "queries": queries.run,
    "loading": loading.run,
    "resized_crops": resized_crops.run,
    "video_reading": video_reading.run,
}


def main(names: list[str]) -> int:
    try:
        for name in names:
            require_known("benchmark", name, BENCHMARKS)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        print(f"--- {name}")
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
