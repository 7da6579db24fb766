import subprocess
import sys
from pathlib import Path

import pytest

from debiaslab.core.importing import without

ROOT = Path(__file__).parents[2]


def test_a_package_is_missing_within_the_block_only() -> None:
    sys.modules.pop("wave", None)
    with without("wave"), pytest.raises(ImportError):
        import wave
    import wave

    with without("wave"):
        assert sys.modules["wave"] is wave


def test_a_run_starts_without_what_only_other_commands_need() -> None:
    code = "import main, sys; print([name for name in sys.argv[1:] if name in sys.modules])"
    heavy = ["pandas", "pymongo", "gridfs", "matplotlib", "sklearn", "scipy.ndimage", "torchvision"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
