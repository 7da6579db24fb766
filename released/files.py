"""Read `torch.save` files from outside: tensors and plain containers only, never an object of a foreign class."""

import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from debiaslab.core.errors import UserError

ZIP = b"PK\x03\x04"
BEFORE_1_6 = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # magic number of the format before torch 1.6


class Unread:
    """Stand-in for an object that is not needed, such as a NumPy scalar; keeps nothing of it."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# what ReBias and EnD save beside the weights, and its stand-ins: ReBias's settings (Munch) become a dictionary
STAND_INS: list[Any] = [
    (OrderedDict, "munch.Munch"),
    *((Unread, name) for name in ("argparse.Namespace", "numpy.dtype", "numpy.ndarray")),
    *(
        (Unread, f"{numpy}.multiarray.{maker}")
        for numpy in ("numpy.core", "numpy._core")
        for maker in ("scalar", "_reconstruct")
    ),
]


def checkpoint_files(path: Path) -> list[Path]:
    """List the PyTorch files at `path`: the file itself, or all in the folder."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in files if file.is_file() and is_checkpoint(file)]


def is_released(path: Path) -> bool:
    """Whether `path` is a PyTorch file or a folder with some; this project saves its own weights as safetensors."""
    return bool(checkpoint_files(path))


def is_checkpoint(path: Path) -> bool:
    """Whether the file was written by `torch.save`, in full or in part."""
    try:
        with path.open("rb") as file:
            start = file.read(len(BEFORE_1_6))
        if not start.startswith(ZIP):
            return start == BEFORE_1_6
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return True  # a truncated one
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def read_file(path: Path) -> Any:
    """Read a PyTorch file, with its tensors on the CPU. No code in the file is run.

    Raises `UserError` if it is damaged, contains an object of a class that is not a stand-in, or is compressed.
    """
    is_zip = zipfile.is_zipfile(path)
    if is_zip and sum(entry.file_size for entry in zipfile.ZipFile(path).infolist()) > path.stat().st_size:
        raise UserError(f"{path} was not read: it is compressed, which no file written by torch.save is")
    try:
        with torch.serialization.safe_globals(STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # a damaged file can raise anything
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UserError(
                f"{path} was not read: it contains a Python object, {found[1]}, which could run code; save the weights"
                " alone, with torch.save(network.state_dict(), PATH)"
            ) from None
        raise UserError(f"cannot read {path}: it is truncated or damaged; download it again") from None
