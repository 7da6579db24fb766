"""The one place that imports torchvision."""

import importlib
import sys
from types import ModuleType

import torch

_libraries: list[torch.library.Library] = []  # operators exist only as long as their library object


def torchvision(submodule: str) -> ModuleType:
    """Import `torchvision.<submodule>` on first use.

    A torchvision built for CUDA cannot load its compiled operators with a CPU-only torch, and then fails to import
    because two of them are undeclared. They are never called here, so declaring them is enough.
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
