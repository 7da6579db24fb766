"""Records written as a run writes them, but quickly, for what reads them."""

import json
from pathlib import Path
from typing import Any

from debiaslab.recording.observers import new_run_id


def write_record(
    folder: Path,
    *,
    method: str = "erm",
    seed: int = 1,
    unbiased: float = 0.5,
    status: str = "COMPLETED",
    start: str = "2026-11-22T10:00:00",
    run_id: str | None = None,
    data: dict[str, Any] | None = None,
    hparams: dict[str, Any] | None = None,
    command: str = "train",
    info: dict[str, Any] | None = None,
    limit: int | None = None,
    model: dict[str, Any] | None = None,
    outcomes: dict[str, Any] | None = None,
) -> str:
    """A record under `folder`, with two evaluations on two classes; returns its id."""
    run_id = run_id or new_run_id()
    config = {
        "seed": seed,
        "log_dir": "runs",
        "evaluate_images": limit,
        "selection": "last",
        "data": {"name": "colored_mnist", "skew": 0.005, "severity": 4, "protocol": "published"} | (data or {}),
        "method": {"name": method, "recipe": "nam2020", "hparams": {"q": 0.7} | (hparams or {})},
        "model": model or {"name": "mlp", "hparams": {"widths": [100, 100, 100]}},
    }
    summary = {"phase": "train", "epoch": 2, "step": 20, "test/unbiased": unbiased, "test/conflicting": None}
    correct = [[[3, 0], [1, 2]], [[4, 1], [1, 2]]]
    evaluations = [
        {"phase": "train", "epoch": epoch, "phase_step": 10 * epoch, "step": 10 * epoch, "losses": {"loss": 0.1}}
        | {"correct": {"test": {"classifier": counts}}, "diagnostics": {}}
        | ({"outcomes": outcomes} if outcomes and epoch == 2 else {})
        for epoch, counts in enumerate(correct, start=1)
    ]
    totals = {"total": {"test": [[4, 2], [2, 4]]}, "aligned": [[True, False], [False, True]]}
    run = {
        "command": command,
        "status": status,
        "start_time": start,
        "stop_time": start.replace(":00:00", ":01:30") if status == "COMPLETED" else None,
        "result": {"last": summary} if status == "COMPLETED" else None,
        "artifacts": ["evaluations.jsonl"],
    }
    place = folder / run_id
    place.mkdir(parents=True)
    for name, content in (("run", run), ("config", config), ("info", {"code": {"commit": "abc"}} | (info or {}))):
        (place / f"{name}.json").write_text(json.dumps(content))
    (place / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [totals, *evaluations]))
    return run_id
