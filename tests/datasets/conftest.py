from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datasets.own_images import save_digits, write_csv


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of image files."""
    folder = tmp_path_factory.mktemp("digits")
    save_digits(folder)
    return folder


@pytest.fixture
def write(tmp_path: Path, images: Path) -> Callable[..., Path]:
    """Write a CSV of these images, as `write_csv` does."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "images").symlink_to(images)

    def write(header: str, row: Callable[[int], str], count: int = 120, name: str = "mine.csv") -> Path:
        return write_csv(folder / name, header, row, count)

    return write
