"""Export a trained classifier, without the other networks of its method, to files that other programs run."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from debiaslab.core.errors import UserError
from debiaslab.core.vision import torchvision
from debiaslab.models.base import Encoder
from debiaslab.models.library import LibraryEncoder
from debiaslab.models.networks import Head
from debiaslab.models.numerics import USUAL
from debiaslab.prediction.classifier import TrainedClassifier

ONNX, PROGRAM = "classifier.onnx", "classifier.pt2"
TORCHVISION = {  # torchvision's networks -> files of their state dicts
    name: f"torchvision_{name}.safetensors" for name in ("resnet18", "resnet50", "vit_b_16", "convnext_tiny")
}
BATCH_SIZES = (1, 2, 7)  # for which exported files are compared with PyTorch
TOLERANCE = 1e-4  # maximum difference of logits, relative to the largest logit
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
INPUT, OUTPUT = "image", "logits"

Run = Callable[[Tensor], Tensor]  # images to logits


def keep_classifier_alone(classifier: TrainedClassifier) -> None:
    """Remove all networks, parameters and buffers from `classifier` that its prediction does not use.

    The remaining modules compute in float32, in the contiguous memory layout.
    """
    used = modules_used(classifier, example_images(classifier, 1))
    for module in list(classifier.modules()):
        for name, child in module.named_children():
            if not used & {*child.modules()} and child.state_dict(keep_vars=True):
                setattr(module, name, None)
        if module not in used:
            for own in (module._parameters, module._buffers):
                own.update(dict.fromkeys(own))
    for module in classifier.modules():
        if isinstance(module, (Encoder, Head)):
            module.numerics = USUAL
    classifier.requires_grad_(False).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@torch.no_grad()
def modules_used(classifier: nn.Module, images: Tensor) -> set[nn.Module]:
    """Return the modules in `classifier` whose own parameters or buffers it reads to map `images` to logits."""
    with Reading() as reading:
        classifier(images)
    return {module for module in classifier.modules() if any(map(reading.has_read, _own_tensors(module)))}


class Reading(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context manager that records which memory is read by operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.memory: set[int] = set()

    def has_read(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self.memory

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        for value in (*args, *options.values()):
            for each in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(each, Tensor):
                    self.memory.add(each.untyped_storage().data_ptr())
        return function(*args, **options)


def _own_tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def example_images(classifier: TrainedClassifier, batch_size: int) -> Tensor:
    """Return noise float32 [batch_size, 3, H, W], of the size of the images that `classifier` expects."""
    shape = (batch_size, *classifier.preprocess.prepare.image_shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(batch_size))


def export(classifier: TrainedClassifier, folder: Path, facts: Mapping[str, Any]) -> dict[str, float]:
    """Export `classifier`, reduced by `keep_classifier_alone`, into `folder`; `facts` become the files' metadata.

    Each file is loaded from disk and run; returns a mapping from file name to the largest difference of its logits from
    PyTorch's, relative to the largest logit. Raises `UserError` if one exceeds `TOLERANCE`, and `ModuleNotFoundError`
    if the extra `onnx` is not installed.
    """
    for package in PACKAGES:  # fail early, naming the missing package
        import_module(package)
    with _quiet(), torch.no_grad():
        batch = {0: torch.export.Dim("batch")}
        program = torch.export.export(classifier, (example_images(classifier, 2),), dynamic_shapes=(batch,))
        runs = {ONNX: _save_onnx(program, folder / ONNX, facts), PROGRAM: _save_program(program, folder / PROGRAM)}
    differences = {name: _difference(classifier, run) for name, run in runs.items()}
    for name, difference in differences.items():
        if not difference <= TOLERANCE:
            raise UserError(
                f"{name}: its logits differ from PyTorch's by {difference:.2g} of the largest; nothing was written"
            )
    found = torchvision_state(classifier)
    if found is not None:
        name, state = found
        path = folder / TORCHVISION[name]
        save_file(state, path, metadata={"debiaslab": json.dumps(facts)})
        network = torchvision_network(name, len(classifier.class_names))
        network.load_state_dict(load_file(path))
        difference = _difference(classifier, network.eval())
        if difference <= TOLERANCE:
            differences[path.name] = difference
        else:  # the logits need more than torchvision's layers, such as a normalisation
            path.unlink()
    return differences


def _save_program(program: torch.export.ExportedProgram, path: Path) -> Run:
    torch.export.save(program, path)
    run: Run = torch.export.load(path).module()
    return run


def _save_onnx(program: torch.export.ExportedProgram, path: Path, facts: Mapping[str, Any]) -> Run:
    import onnxruntime  # imported here: it comes with the extra onnx

    made = torch.onnx.export(program, dynamo=True, verbose=False, input_names=[INPUT], output_names=[OUTPUT])
    assert made is not None
    made.model.metadata_props["debiaslab"] = json.dumps(facts)
    made.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(numpy.asarray(session.run([OUTPUT], {INPUT: image.numpy()})[0]))


@torch.no_grad()
def _difference(classifier: TrainedClassifier, run: Run) -> float:
    """Return the largest difference between the logits of `run` and `classifier`, relative to the largest logit."""
    differences = []
    for batch_size in BATCH_SIZES:
        images = example_images(classifier, batch_size)
        expected = classifier(images)
        differences.append(float((run(images) - expected).abs().max() / expected.abs().max()))
    return max(differences)


# ---- torchvision's names


def torchvision_state(classifier: nn.Module) -> tuple[str, dict[str, Tensor]] | None:
    """Return (name, state dict) of a network of torchvision if `classifier` is one with a linear head, else None."""
    encoders = [module for module in classifier.modules() if isinstance(module, LibraryEncoder)]
    heads = [module for module in classifier.modules() if isinstance(module, Head)]
    if len(encoders) != 1 or len(heads) != 1 or heads[0].in_features != encoders[0].feature_dim:
        return None
    published = encoders[0].published
    if published.library != "torchvision":
        return None
    head = {f"{published.head[0]}{name}": value for name, value in heads[0].state_dict().items()}
    state = encoders[0].body.state_dict() | head
    return published.name, {name: value.contiguous() for name, value in state.items()}


def torchvision_network(name: str, num_classes: int) -> nn.Module:
    """Build torchvision's network `name` with random weights."""
    network: nn.Module = getattr(torchvision("models"), name)(weights=None, num_classes=num_classes)
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    """Context manager that silences PyTorch's warnings about its own future changes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
