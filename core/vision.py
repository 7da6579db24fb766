"""The one place that imports torchvision."""

import importlib
import sys
from types import ModuleType

import torch

_libraries: list[torch.library.Library] = []  # operators exist as long as their library object


def torchvision(submodule: str) -> ModuleType:
    """`torchvision.<submodule>`, imported on first use.

    A torchvision built for CUDA cannot load its compiled operators next to a CPU-only torch, and then fails to import
    because two of them are undeclared. Nothing here calls them, so declaring them is enough.
    """
    try:
        return importlib.import_module(f"torchvision.{submodule}")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(  # type: ignore[no-untyped-call]
            f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    _libraries.append(library)
    return importlib.import_module(f"torchvision.{submodule}")
