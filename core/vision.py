"""The one place that imports torchvision."""

import importlib
import sys
from types import ModuleType

import torch

_libraries: list[torch.library.Library] = []  # a library's operators live as long as the object


def torchvision(submodule: str) -> ModuleType:
    """`torchvision.<submodule>`, imported when it is first needed.

    A torchvision built for CUDA cannot load its compiled operators beside a CPU-only torch, and its import then fails
    because two operators were never declared. Nothing here calls them: declaring them is enough.
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
