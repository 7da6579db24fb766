"""What the scripts that write golden files share: images with a shortcut, and an MLP as a function of its parameters.

Plain PyTorch, without any of our methods or networks. `python -m tests.golden.reference_METHOD FILE` writes FILE.
"""

import json
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn.functional import linear

SIZE, CLASSES, NUM_IMAGES, WIDTHS = 6, 4, 96, (24, 12)
SHOWN = 64  # parameters with more values are recorded as their sum, norm and first values

Parameters = dict[str, Tensor]


def make_data(seed: int, conflicting: float = 0.15) -> dict[str, Any]:
    """Images with a shortcut: `images` uint8 [N, SIZE, SIZE, 3], `attrs` int64 [N, 2] with target and bias.

    Rows show the target faintly, columns show the bias strongly."""
    generator = numpy.random.default_rng(seed)
    target = generator.integers(0, CLASSES, NUM_IMAGES)
    other = (target + generator.integers(1, CLASSES, NUM_IMAGES)) % CLASSES
    bias = numpy.where(generator.random(NUM_IMAGES) < conflicting, other, target)
    images = generator.integers(0, 90, (NUM_IMAGES, SIZE, SIZE, 3))
    images[numpy.arange(NUM_IMAGES), target] += 40
    images[numpy.arange(NUM_IMAGES), :, bias] += 120
    return {"images": images.astype(numpy.uint8), "attrs": numpy.stack([target, bias], axis=1)}


def pixels(data: Mapping[str, Any]) -> Tensor:
    """The images in [0, 1], with channels first, flattened: float32 [N, D]."""
    channels_first = numpy.ascontiguousarray(data["images"].transpose(0, 3, 1, 2))
    return torch.from_numpy(channels_first).flatten(1).float() / 255


def network(seed: int, outputs: int = CLASSES) -> dict[str, Any]:
    """The initialisation of an MLP, as `meta` lists it."""
    sizes = (3 * SIZE * SIZE, *WIDTHS)
    params: list[Any] = []
    for number, width in enumerate(WIDTHS):
        params += [
            [f"feature.{number}.weight", [width, sizes[number]], "fan_in"],
            [f"feature.{number}.bias", [width], "small"],
        ]
    params += [["classifier.weight", [outputs, WIDTHS[-1]], "fan_in"], ["classifier.bias", [outputs], "small"]]
    return {"seed": seed, "params": params}


INITIALISATIONS: dict[str, Callable[[Any], Any]] = {
    "fan_in": lambda z: z / numpy.sqrt(numpy.prod(z.shape[1:])),
    "bn_weight": lambda z: 1 + 0.01 * z,
    "small": lambda z: 0.01 * z,
}


def initial_values(recipe: Mapping[str, Any]) -> list[Any]:
    """The initial values of parameters, float32, as `meta` lists them."""
    generator = numpy.random.default_rng(recipe["seed"])
    drawn = [(generator.standard_normal(shape, dtype=numpy.float32), kind) for _, shape, kind in recipe["params"]]
    return [numpy.asarray(INITIALISATIONS[kind](z), dtype=numpy.float32) for z, kind in drawn]


def initial(recipe: Mapping[str, Any]) -> Parameters:
    names = [name for name, _, _ in recipe["params"]]
    values = initial_values(recipe)
    return {name: torch.tensor(value, requires_grad=True) for name, value in zip(names, values, strict=True)}


def features(parameters: Parameters, x: Tensor) -> Tensor:
    for number in range(len(WIDTHS)):
        x = linear(x, parameters[f"feature.{number}.weight"], parameters[f"feature.{number}.bias"]).relu()
    return x


def logits(parameters: Parameters, x: Tensor) -> Tensor:
    return linear(features(parameters, x), parameters["classifier.weight"], parameters["classifier.bias"])


def shuffled_batches(positions: Any, size: int, count: int, seed: int) -> Any:
    """`count` batches of `size` of the `positions`, in a new order for each epoch; incomplete ones are dropped."""
    generator = numpy.random.default_rng(seed)
    batches: list[Any] = []
    while len(batches) < count:
        order = generator.permutation(positions)
        batches += [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    return numpy.stack(batches[:count])


def step(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    torch.autograd.backward(loss)
    for optimizer in optimizers:
        optimizer.step()


def final(networks: Mapping[str, Parameters]) -> dict[str, Any]:
    """The final parameters, as the format records them."""
    arrays: dict[str, Any] = {}
    for network_name, parameters in networks.items():
        for name, parameter in parameters.items():
            series, value = f"final/{network_name}/{name}", parameter.detach().double().numpy()
            if value.size <= SHOWN:
                arrays[series] = value.astype(numpy.float32)
                continue
            arrays |= {f"{series}/sum": value.sum(), f"{series}/norm": numpy.linalg.norm(value)}
            arrays[f"{series}/head"] = value.ravel()[:SHOWN].astype(numpy.float32)
    return arrays


def write(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    numpy.savez_compressed(path, meta=numpy.array(json.dumps(meta)), **arrays)


def load(path: Path) -> Any:
    """The module in `path`, of an author's code."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
