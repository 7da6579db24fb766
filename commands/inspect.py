"""`python main.py inspect with DATA`: summarise a data set and the files it is read from.

Examples:
  python main.py inspect with waterbirds data.root=/data
"""

from pathlib import Path
from typing import Any

from debiaslab.analysis.dataset_summary import summarize_dataset
from debiaslab.config import ex
from debiaslab.core.console import show
from debiaslab.settings.setup import check_data


@ex.command(unobserved=True)
def inspect(config: dict[str, Any]) -> None:
    """Show a data set: the files it needs and which are missing, sizes, groups, sample images."""
    run, data = check_data(config)
    for thing in summarize_dataset(config["data"]["name"], data, Path(run.log_dir), run.memory_gb):
        show(thing)
