"""Stands in for the deprecated `pkg_resources` while Sacred 0.8.7 is imported.

setuptools 81 and newer do not have it, and importing it takes a fortieth of a short run. Sacred asks it for the
versions of packages, which it records, and for a file of its own.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata, resources
from types import ModuleType

NAME = "pkg_resources"
RECORDED = ("numpy", "sacred")  # the packages of whose modules Sacred finds something in `config.py` or uses itself


class Package:
    """An installed package with one module, which has its name, as a distribution of `pkg_resources`."""

    def __init__(self, name: str) -> None:
        self.project_name, self.version = name, metadata.version(name)

    def _get_metadata(self, name: str) -> list[str]:
        assert name == "top_level.txt"
        return [self.project_name]


def resource_filename(package: str, name: str) -> str:
    """The path of the file `name` of an installed package."""
    return str(resources.files(package) / name)


@contextmanager
def without_pkg_resources() -> Iterator[None]:
    """Within the block, `import pkg_resources` gives the stand-in, unless the real one is imported already."""
    if NAME in sys.modules:
        yield
        return
    stand_in = ModuleType(NAME)
    vars(stand_in).update(working_set=[Package(name) for name in RECORDED], resource_filename=resource_filename)
    sys.modules[NAME] = stand_in
    try:
        yield
    finally:
        del sys.modules[NAME]
