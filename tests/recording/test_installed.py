"""Sacred without `pkg_resources`, which new versions of setuptools do not have."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from debiaslab import main

PROGRAM = """
import json, sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pkg_resources":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Gone())
import debiaslab.main
from debiaslab.config import ex
from sacred.observers import mongo
print(json.dumps([ex.get_experiment_info()["dependencies"], mongo.mimetype_detector.guess_type("a.png")]))
"""


def test_sacred_is_imported_and_records_versions_without_pkg_resources() -> None:
    root = Path(main.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    dependencies, kind = json.loads(done.stdout)
    assert dependencies == [f"{name}=={metadata.version(name)}" for name in ("numpy", "sacred")]
    assert kind == ["image/png", None]
