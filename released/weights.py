"""Convert weights released by authors into the state of our methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from debiaslab.core.errors import UserError, one_of
from debiaslab.models.pretrained import shorten
from debiaslab.released.files import checkpoint_files, read_file
from debiaslab.released.formats import DENETDM_2, READERS, Format, Part, Piece
from debiaslab.released.networks import DENETDM_ROLES

RULE = "as released (chosen on test images by its authors)"  # shown where a selection rule is
COUNTER = ".num_batches_tracked"  # of batch norm; missing in older files, and not used for prediction


@dataclass(frozen=True)
class Released:
    """The weights of one of our methods, converted from its authors' files.

    `state` maps our names to the tensors of `modules`; the method's other modules are not in the files. `branches` can
    be evaluated, the prediction first. `settings`, by dotted name, make our method predict as theirs. `notes` tell the
    user what the files leave open.
    """

    path: Path
    method: str
    source: str
    settings: Mapping[str, Any]
    state: Mapping[str, Tensor]
    modules: tuple[str, ...]
    branches: tuple[str, ...]
    notes: tuple[str, ...]


def read_released(path: Path, method: str | None = None) -> Released:
    """Convert the weights in the file `path`, or in all files of the folder `path`.

    `method` is the user's choice; None takes the method from the files. Raises `UserError` if files are damaged, in an
    unknown format, or of another method, and if a network is unknown, missing or given twice.
    """
    pieces = read_pieces(path)
    method, notes = choose_method(path, pieces, method)
    parts: dict[str, Piece] = {}
    formats: dict[str, Format] = {}
    for piece in pieces:
        if form := next((form for form in piece.formats if form.method == method), None):
            formats[piece.part] = form
            parts[piece.part] = preferred(piece, parts.get(piece.part))
    shown = DENETDM_2 if DENETDM_2 in formats.values() else next(iter(formats.values()))
    branches = tuple(branch for branch, needed in shown.branches.items() if parts.keys() >= set(needed))
    if not branches:
        missing = one_of(shown.parts.keys() - parts.keys())
        raise UserError(
            f"{path} lacks the {missing} network of {shown.source}, and each head needs the features of both: put the"
            " two files, best_model_l.th (or _d) and best_model_b.th, into one folder and give the folder"
        )
    places = {part: form.parts[part] for part, form in formats.items()}
    return Released(
        path,
        method,
        shown.source,
        {"method.name": method} | dict(shown.settings) | model_settings(path, parts, places),
        {name: tensor for part, piece in parts.items() for name, tensor in rename_tensors(piece, places[part]).items()},
        tuple(module for place in places.values() for module in (place.encoder, place.head) if module is not None),
        branches,
        notes,
    )


def read_pieces(path: Path) -> list[Piece]:
    """Read the networks in a file, or in all files of a folder. Raises `UserError` if there are none."""
    files = checkpoint_files(path)
    if not files:
        problem = (
            "is not a PyTorch file"
            if path.is_file()
            else "contains no PyTorch file"
            if path.is_dir()
            else "does not exist"
        )
        raise UserError(f"{path} {problem}; give a file written by torch.save, or a folder with such files")
    contents = [(file, read_file(file)) for file in files]
    found = [next((pieces for read in READERS if (pieces := read(*content))), []) for content in contents]
    if not any(found):
        raise UserError(
            f"{path} has no weights in a known format; known are those that the code of DeNetDM, LfF, DisEnt,"
            " BiasEnsemble, ReBias and EnD saves"
        )
    return [piece for pieces in found for piece in pieces]


def choose_method(path: Path, pieces: list[Piece], method: str | None) -> tuple[str, tuple[str, ...]]:
    """Choose the method to evaluate; returns it with notes on the choice. Raises `UserError` if there is none."""
    methods = [[form.method for form in piece.formats] for piece in pieces]
    every = dict.fromkeys(name for names in methods for name in names)
    if method is not None:
        if method not in every:
            fix = " or ".join(f"method={name}" for name in every)
            raise UserError(f"{path} is of {pieces[0].formats[0].source}, not of method={method}; type {fix}")
        return method, ()
    common = [name for name in every if all(name in names for names in methods)]
    if not common:
        raise UserError(f"{path} has weights of several methods, {one_of(every)}: add method=NAME, or name one file")
    chosen, *others = common
    alike = " or ".join(f"method={name}" for name in others)
    notes = (f"assuming method={chosen}; if the weights are of another method, type {alike}: the files look the same",)
    return chosen, notes if others else ()


def preferred(piece: Piece, other: Piece | None) -> Piece:
    """Choose between two files with the same network: the one named best*. Raises `UserError` if none or both are."""
    if other is None:
        return piece
    best = [candidate for candidate in (piece, other) if candidate.path.name.startswith("best")]
    if len(best) != 1:
        files = f"{other.path.name} and {piece.path.name}"
        raise UserError(f"{piece.path.parent}: {files} both contain the {piece.part} network; give one file")
    return best[0]


def rename_tensors(piece: Piece, place: Part) -> dict[str, Tensor]:
    """Return the tensors of a network by our names. Raises `UserError` for one that our network does not have."""
    names = {name: piece.kind.rename(name, place.encoder, place.head) for name in piece.tensors}
    if unknown := [name for name, ours in names.items() if ours is None]:
        raise UserError(
            f"{piece.path}: the {piece.part} network has {shorten(unknown)}, which our {piece.kind.model} does not;"
            " evaluate it with its authors' code"
        )
    return {ours: piece.tensors[name] for name, ours in names.items() if ours is not None}


def model_settings(path: Path, parts: Mapping[str, Piece], places: Mapping[str, Part]) -> dict[str, Any]:
    """Return the architecture and its sizes, by dotted name. Raises `UserError` if the networks do not match."""
    sizes: dict[str, Any] = {}
    for part, piece in parts.items():
        for name, value in piece.kind.sizes(piece.tensors, places[part].role).items():
            if sizes.setdefault(name, value) != value:
                raise UserError(f"{path}: its networks differ in {name}, {sizes[name]} and {value}; give one file")
    kinds = {piece.kind.model for piece in parts.values()}
    if kinds == {"resnet18", "bagnet18"}:
        kinds = {"resnet18_bagnet18"}
    elif kinds != {"mlp_branches"} and sizes.keys() & set(DENETDM_ROLES):
        kinds = {"conv_branches"}
    if len(kinds) > 1:
        raise UserError(f"{path}: no method combines its networks, {one_of(kinds)}; give one file")
    return {"model.name": kinds.pop(), **{f"model.hparams.{name}": value for name, value in sizes.items()}}


def load_released(released: Released, method: nn.Module, num_classes: int) -> None:
    """Load the weights into the modules of `method` that they belong to; the others are left unchanged.

    Raises `UserError` if they do not fit: other shapes, another number of classes, or missing tensors.
    """
    where, state = f"{released.path} ({released.source})", released.state
    prefixes = tuple(f"{module}." for module in released.modules)
    own = {name: tensor for name, tensor in method.state_dict().items() if name.startswith(prefixes)}
    if missing := [name for name in own if name not in state and not name.endswith(COUNTER)]:
        raise UserError(f"{where} lacks {shorten(missing)} of this model; drop model.*, or download the file again")
    if unknown := [name for name in state if name not in own]:
        raise UserError(f"{where} has {shorten(unknown)}, which this model does not; drop model.*")
    for name, tensor in state.items():
        found, needed = tuple(tensor.shape), tuple(own[name].shape)
        if found == needed:
            continue
        if name.endswith("head.weight") and found[1:] == needed[1:]:
            raise UserError(f"{where} has {found[0]} classes, the data set {num_classes}; name the weights' data set")
        raise UserError(
            f"{where} does not fit: {name} is {found}, but this model and data set need {needed}; name the data set"
            " that the weights were trained on, and drop model.*"
        )
    method.load_state_dict(dict(state), strict=False)
