"""Seconds to query 10,000 recorded runs, with and without an up-to-date index."""

import json
import tempfile
from pathlib import Path

from benchmarks.side_by_side import Row, median_seconds, timed
from debiaslab.analysis.file_store import INDEX, FileStore
from debiaslab.analysis.frames import results_frame
from debiaslab.analysis.query import EVERYTHING, Query
from debiaslab.analysis.tables import result_table

NUM_RUNS = 10_000
METHODS = ("denetdm", "lff", "disent", "erm")
SKEWS = (0.05, 0.02, 0.01, 0.005)


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_runs(folder, NUM_RUNS)
        store = FileStore(folder)
        one_method = Query({"method.name": "lff", "data.skew": 0.01})
        seconds = {"first question (builds the index)": timed(lambda: store.find(EVERYTHING))}
        seconds["all runs"] = median_seconds(lambda: store.find(EVERYTHING))
        seconds["one method and skew"] = median_seconds(lambda: store.find(one_method))
        seconds["frame of all results"] = median_seconds(lambda: results_frame(store.find(EVERYTHING)))
        seconds["table of one method"] = median_seconds(
            lambda: result_table(store.find(one_method), "last", "test/unbiased")
        )
        size = (folder / INDEX).stat().st_size
    print(f"{NUM_RUNS:,} runs; index {size / 2**20:.0f} MiB")
    return [Row(name=name, unit="s", ours=value) for name, value in seconds.items()]


def write_runs(folder: Path, count: int) -> None:
    """Write `count` records as large as those of DeNetDM, without images and weights."""
    hparams = {f"setting_{number}": 0.001 * number for number in range(18)}
    metrics = ("accuracy", "unbiased", "aligned", "conflicting", "worst_group", "align_conflict_harmonic")
    branches = ("", "target/", "deep/", "target_and_deep/")
    for number in range(count):
        accuracy = number / count
        summary: dict[str, object] = {f"test/{branch}{metric}": accuracy for branch in branches for metric in metrics}
        method, skew, seed = METHODS[number % 4], SKEWS[number // 4 % 4], number // 16
        config = {
            "seed": seed,
            "selection": "last",
            "data": {"name": "colored_mnist", "skew": skew, "severity": 4, "protocol": "published", "seed": 0},
            "method": {"name": method, "recipe": "published", "hparams": hparams},
            "model": {"name": "mlp", "hparams": {"widths": [100, 100, 100], "input_scale": 1.0}},
        }
        summary |= {"phase": "train", "epoch": 100, "step": 23_500}
        run = {
            "command": "train",
            "status": "COMPLETED",
            "start_time": f"2026-11-22T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}",
            "stop_time": "2026-11-23T00:00:00",
            "experiment": {"sources": [[f"methods/file_{source}.py", "0" * 32] for source in range(80)]},
            "result": {"last": summary, "best_valid_unbiased": summary},
        }
        place = folder / f"20261122-{number:06}-aaaa"
        place.mkdir()
        for name, content in (("run", run), ("config", config), ("info", {"data": {"fingerprint": "0" * 16}})):
            (place / f"{name}.json").write_text(json.dumps(content))
