"""Weights that authors have released, as the state of our methods."""

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

RULE = "as released (chosen on test images by its authors)"  # by which weights were chosen, for a reader
COUNTER = ".num_batches_tracked"  # of batch norm, which older files lack: nothing is predicted with it


@dataclass(frozen=True)
class Released:
    """What other people's files hold of a method of ours.

    `state` has the tensors of `modules`, by our names; the method's other modules are not in the files. `branches` can
    be evaluated, the prediction first. `settings`, by dotted name, make the method predict as theirs. `notes` say what
    the files leave open.
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
    """What the file `path`, or all files together of the folder `path`, hold of one method.

    `method` is the user's; None: the files' own. Raises `UserError` for files that are damaged, foreign or of another
    method, for unknown networks, and for networks that are there twice or not at all.
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
            f"{path} lacks the {missing} network of {shown.source}, and each head reads both: put the two files, named"
            " best_model_l.th (or _d) and best_model_b.th, into one folder and name the folder"
        )
    places = {part: form.parts[part] for part, form in formats.items()}
    return Released(
        path,
        method,
        shown.source,
        {"method.name": method} | dict(shown.settings) | model_settings(path, parts, places),
        {name: tensor for part, piece in parts.items() for name, tensor in renamed(piece, places[part]).items()},
        tuple(module for place in places.values() for module in (place.encoder, place.head) if module is not None),
        branches,
        notes,
    )


def read_pieces(path: Path) -> list[Piece]:
    """The networks in a file, or in the files of a folder. Raises `UserError` if there are none."""
    files = checkpoint_files(path)
    if not files:
        kind = "is no" if path.is_file() else "has no" if path.is_dir() else "is not there, nor a"
        raise UserError(f"{path} {kind} PyTorch file; name one that torch.save has written, or a folder with some")
    contents = [(file, read_file(file)) for file in files]
    found = [next((pieces for read in READERS if (pieces := read(*content))), []) for content in contents]
    if not any(found):
        raise UserError(
            f"{path} has no weights in a format that is known here: they are those of the code of DeNetDM, LfF, DisEnt,"
            " BiasEnsemble, ReBias and EnD"
        )
    return [piece for pieces in found for piece in pieces]


def choose_method(path: Path, pieces: list[Piece], method: str | None) -> tuple[str, tuple[str, ...]]:
    """The method that is evaluated, and what is to be said of the choice. Raises `UserError` if there is none."""
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
    return chosen, (f"taken for method={chosen}; type {alike} if it is that: the files look the same",) * bool(others)


def preferred(piece: Piece, other: Piece | None) -> Piece:
    """Of two files with the same network, the one that is called the best. Raises `UserError` if none or both are."""
    if other is None:
        return piece
    best = [candidate for candidate in (piece, other) if candidate.path.name.startswith("best")]
    if len(best) != 1:
        files = f"{other.path.name} and {piece.path.name}"
        raise UserError(f"{piece.path.parent}: {files} both hold the {piece.part} network; name one file")
    return best[0]


def renamed(piece: Piece, place: Part) -> dict[str, Tensor]:
    """The tensors of a network by our names. Raises `UserError` for one that our network has not."""
    names = {name: piece.kind.rename(name, place.encoder, place.head) for name in piece.tensors}
    if unknown := [name for name, ours in names.items() if ours is None]:
        raise UserError(
            f"{piece.path}: the {piece.part} network has {shorten(unknown)}, which our {piece.kind.model} has not;"
            " evaluate it with its authors' code"
        )
    return {ours: piece.tensors[name] for name, ours in names.items() if ours is not None}


def model_settings(path: Path, parts: Mapping[str, Piece], places: Mapping[str, Part]) -> dict[str, Any]:
    """The architecture and its sizes, by dotted name. Raises `UserError` if the networks do not go together."""
    sizes: dict[str, Any] = {}
    for part, piece in parts.items():
        for name, value in piece.kind.sizes(piece.tensors, places[part].role).items():
            if sizes.setdefault(name, value) != value:
                raise UserError(f"{path}: its networks differ in {name}, {sizes[name]} and {value}; name one file")
    kinds = {piece.kind.model for piece in parts.values()}
    if kinds == {"resnet18", "bagnet18"}:
        kinds = {"resnet18_bagnet18"}
    elif kinds != {"mlp_branches"} and sizes.keys() & set(DENETDM_ROLES):
        kinds = {"conv_branches"}
    if len(kinds) > 1:
        raise UserError(f"{path}: its networks, {one_of(kinds)}, are no pair that is known here; name one file")
    return {"model.name": kinds.pop(), **{f"model.hparams.{name}": value for name, value in sizes.items()}}


def load_released(released: Released, method: nn.Module, num_classes: int) -> None:
    """Load the weights into the modules of `method` that they are for; the others stay as they are.

    Raises `UserError` if they do not fit: of other shapes, for another number of classes, or not complete.
    """
    where, state = f"{released.path} ({released.source})", released.state
    prefixes = tuple(f"{module}." for module in released.modules)
    own = {name: tensor for name, tensor in method.state_dict().items() if name.startswith(prefixes)}
    if missing := [name for name in own if name not in state and not name.endswith(COUNTER)]:
        raise UserError(f"{where} lacks {shorten(missing)} of this model; leave model.* out, or get the file again")
    if unknown := [name for name in state if name not in own]:
        raise UserError(f"{where} has {shorten(unknown)}, which this model has not; evaluate it with its authors' code")
    for name, tensor in state.items():
        found, needed = tuple(tensor.shape), tuple(own[name].shape)
        if found == needed:
            continue
        if name.endswith("head.weight") and found[1:] == needed[1:]:
            raise UserError(f"{where} tells {found[0]} classes, and the data set has {num_classes}; name its data set")
        raise UserError(
            f"{where} does not fit: {name} is {found}, and this model and data set need {needed}; name the data set"
            " that the weights are for, and leave model.* out"
        )
    method.load_state_dict(dict(state), strict=False)
