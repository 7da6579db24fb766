"""The original MNIST files, through torchvision, with checksums."""

import hashlib
from pathlib import Path

from debiaslab.core.errors import UserError
from debiaslab.core.files import remove_if_failed, require_writable
from debiaslab.core.vision import torchvision
from debiaslab.datasets.base import Source
from debiaslab.datasets.coloring import Digits

# SHA-256 of the uncompressed files (torchvision verifies the compressed ones after downloading)
CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def mnist_sources(root: Path) -> list[Source]:
    """The files that `read_mnist` reads or downloads."""
    base = next((base for base in (root, root / "MNIST") if _is_complete(base)), root)
    origin = "downloaded when it is first needed (torchvision), or put it there yourself, uncompressed"
    return [Source(base / "MNIST" / "raw" / name, "a file of MNIST", origin, required=False) for name in CHECKSUMS]


def read_mnist(root: Path) -> tuple[Digits, Digits]:
    """Read ((images uint8 [60000, 28, 28], targets int64 [60000]), the same for the 10,000 test images).

    Reads `<root>/MNIST/raw`, or `<root>/MNIST/MNIST/raw` (where LfF's code puts it), and downloads missing
    files into the former. Raises `UserError` for a folder that cannot be read, a failed download or a damaged file.
    """
    base = next((base for base in (root, root / "MNIST") if _is_complete(base)), root)
    if not _is_complete(base):
        with remove_if_failed(root / "MNIST" / "raw"):
            _download(root)
    raw = base / "MNIST" / "raw"
    for name, expected in CHECKSUMS.items():
        try:
            found = hashlib.sha256((raw / name).read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"cannot read {raw / name}: {error.strerror}; check data.root={root}") from None
        if found != expected:
            raise UserError(
                f"{raw / name} is damaged: SHA-256 {found}, expected {expected}; delete the file to download it again"
            )
    mnist = torchvision("datasets").MNIST
    train, test = mnist(base, train=True), mnist(base, train=False)
    return (train.data.numpy(), train.targets.numpy()), (test.data.numpy(), test.targets.numpy())


def _is_complete(base: Path) -> bool:
    try:
        return all((base / "MNIST" / "raw" / name).is_file() for name in CHECKSUMS)
    except OSError as error:
        raise UserError(f"cannot read {base}: {error.strerror}; check data.root={base}") from None


def _download(root: Path) -> None:
    require_writable(root, "data.root")
    try:
        torchvision("datasets").MNIST(root, download=True)
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]  # the earlier lines list the attempts
        raise UserError(
            f"MNIST is not in {root / 'MNIST' / 'raw'} and could not be downloaded ({reason});"
            f" put the four files {', '.join(CHECKSUMS)} there, or name another folder with data.root=DIR"
        ) from None
