"""Optional dependencies: the extras of pyproject.toml."""

import sys

from debiaslab.core.program import IN_CLONE

EXTRAS = {  # module name -> the extra that installs it
    "av": "video",
    "bson": "mongo",
    "gridfs": "mongo",
    "imagenet_w": "watermark",
    "incense": "mongo",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "optuna": "search",
    "psutil": "search",
    "pymongo": "mongo",
    "sqlalchemy": "search",
    "submitit": "cluster",
    "tensorboardX": "report",
    "timm": "timm",
}


def how_to_install(package: str) -> str:
    """The command that installs the extra which contains `package`."""
    if package == "incense" and sys.version_info >= (3, 12):
        return "`make` in a clone, as Python 3.12 and newer cannot build it"
    return f'pip install "{"." if IN_CLONE else "debiaslab"}[{EXTRAS[package]}]"'


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """One line on how to install the missing module; None if it is in no extra."""
    package = (error.name or "").partition(".")[0]
    return f"{package} is not installed: {how_to_install(package)}" if package in EXTRAS else None
