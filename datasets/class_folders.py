"""Read class folders as a table: FOLDER/CLASS/*, or FOLDER/{train,valid,test}/CLASS/*."""

from pathlib import Path

from debiaslab.core.errors import UserError
from debiaslab.datasets.csv_table import SPLITS, CSVTable
from debiaslab.datasets.image_files import SUFFIXES, walk_files

SPLIT_NAMES = {**{name: name for name in SPLITS}, "val": "valid", "validation": "valid"}  # of folders


def read_class_folders(folder: Path) -> CSVTable:
    """List the images below `folder`, sorted by path, with their class as the target and, if there are splits, theirs.

    Files without an image suffix are ignored with a note. Raises `UserError` for a folder without class folders, and
    for an image outside of them.
    """
    if not folder.is_dir():
        raise UserError(f"data.images={folder}: there is no such folder; it must have one subfolder per class")
    has_splits = (folder / "train").is_dir()
    depth = 2 if has_splits else 1
    columns: dict[str, list[str]] = {"path": [], "target": [], **({"split": []} if has_splits else {})}
    ignored = 0
    for path in sorted(walk_files(folder, follow_links=True), key=Path.as_posix):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() not in SUFFIXES:
            ignored += 1
            continue
        if len(parts) <= depth:
            raise UserError(f"{path} is not in a class folder; move it into one below {folder / Path(*parts[:-1])}")
        columns["path"].append("/".join(parts))
        columns["target"].append(parts[depth - 1])
        if has_splits:
            if parts[0] not in SPLIT_NAMES:
                raise UserError(f"{folder / parts[0]} is next to train, but is not valid or test; move it elsewhere")
            columns["split"].append(SPLIT_NAMES[parts[0]])
    if not columns["path"]:
        raise UserError(f"data.images={folder}: no images in class folders; image files end in {', '.join(SUFFIXES)}")
    notes = (f"{folder}: {ignored:,} files without an image suffix are ignored",) if ignored else ()
    return CSVTable(folder, [], columns, notes)
