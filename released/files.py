"""Reading `torch.save` files of other people: tensors and plain containers, never an object of a class of theirs."""

import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from debiaslab.core.errors import UserError

ZIP = b"PK\x03\x04"
BEFORE_1_6 = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the number that the format before torch 1.6 begins with


class Unread:
    """Made in place of an object that is not needed, such as a number of NumPy's; keeps nothing of it."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# what ReBias and EnD save beside the weights, and what is made of it: ReBias's settings (Munch) are a dictionary
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
    """The PyTorch files that `path` names: itself, or those in the folder; none if there are none."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in files if file.is_file() and is_checkpoint(file)]


def is_released(path: Path) -> bool:
    """Whether `path` names PyTorch files; this project's weights are in files of another kind."""
    return bool(checkpoint_files(path))


def is_checkpoint(path: Path) -> bool:
    """Whether `torch.save` has written the file, or the beginning of it."""
    try:
        with path.open("rb") as file:
            start = file.read(len(BEFORE_1_6))
        if not start.startswith(ZIP):
            return start == BEFORE_1_6
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return True  # one that is cut off
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def read_file(path: Path) -> Any:
    """What is in a PyTorch file, on the CPU. Raises `UserError` if it is damaged, or holds an object of a class.

    Nothing in it is run, and an archive that unpacks to more than it is long is not unpacked.
    """
    is_zip = zipfile.is_zipfile(path)
    if is_zip and sum(entry.file_size for entry in zipfile.ZipFile(path).infolist()) > path.stat().st_size:
        raise UserError(f"{path} is not read: it would unpack to more than it is long, as no file of torch.save does")
    try:
        with torch.serialization.safe_globals(STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # there is no end to what is raised for a damaged file
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UserError(
                f"{path} is not read: it holds a Python object, {found[1]}, which could run code; save the weights"
                " alone, with torch.save(network.state_dict(), PATH)"
            ) from None
        raise UserError(f"cannot read {path}: it is cut off or damaged; get it again") from None
