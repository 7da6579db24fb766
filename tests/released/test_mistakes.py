"""Files that cannot be evaluated: one line that says what was found, and what to do."""

import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from debiaslab.core.errors import UserError
from debiaslab.methods import Method
from debiaslab.released import load_released, read_released
from tests.released.authors import CLASSES, built, network, with_company
from tests.released.test_formats import CASES, DISENT_MLP, LFF_MLP, SMALL, denetdm

SHAPE = (3, 6, 6)


def lff() -> Method:
    return built("lff", "mlp", SHAPE, 1, {}, LFF_MLP)


def lff_content(**changed: Any) -> Any:
    method = lff()
    state = network(method, "mlp", "debiased.encoder", "debiased.head", "classifier") | changed
    return with_company({name: tensor for name, tensor in state.items() if tensor is not None}, method)


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def mistake(path: Path, method: str | None = None) -> str:
    with pytest.raises(UserError) as error:
        read_released(path, method)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_file_of_another_method(tmp_path: Path) -> None:
    message = mistake(save(tmp_path / "model.th", lff_content()), "denetdm")
    assert message.endswith("model.th is of LfF, not of method=denetdm; type method=lff or method=erm")


def test_what_looks_alike_is_said_unless_the_method_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "model.th", lff_content())
    assert read_released(path).notes == (
        "assuming method=lff; if the weights are of another method, type method=erm: the files look the same",
    )
    erm = read_released(path, "erm")
    assert (erm.notes, erm.branches) == ((), ("classifier",))
    target = built("erm", "mlp", SHAPE, 2, {}, LFF_MLP)
    load_released(erm, target, CLASSES)
    image = torch.rand(2, *SHAPE)
    torch.testing.assert_close(target.predict(image), lff().predict(image), rtol=0, atol=0)


@pytest.mark.parametrize("end", ["b", "l"])
def test_one_of_the_two_networks_of_disent(end: str, tmp_path: Path) -> None:
    source = built("disent", "mlp", SHAPE, 1, {}, DISENT_MLP)
    for name, content in CASES["disent"].files(source).items():
        save(tmp_path / name, content)
    other = {"b": "debiased", "l": "biased"}[end]
    message = mistake(tmp_path / f"best_model_{end}.th")
    assert f"lacks the {other} network of DisEnt" in message
    assert "into one folder and give the folder" in message


def test_two_files_of_one_network(tmp_path: Path) -> None:
    for name in ("model_1.th", "model_2.th"):
        save(tmp_path / name, lff_content())
    assert "model_1.th and model_2.th both contain the debiased network; give one file" in mistake(tmp_path)
    best = lff_content()
    best["state_dict"]["classifier.bias"] = torch.full((CLASSES,), 7.0)
    (tmp_path / "model_2.th").unlink()
    save(tmp_path / "best_model.th", best)
    assert read_released(tmp_path).state["debiased.head.bias"].tolist() == [7.0] * CLASSES


def test_a_folder_of_two_methods(tmp_path: Path) -> None:
    save(tmp_path / "lff.th", lff_content())
    [content] = CASES["end"].files(built("end", "simple_conv", SHAPE, 1, {}, CASES["end"].model_hparams)).values()
    save(tmp_path / "end.pt", content)
    assert "weights of several methods, end, erm, lff: add method=NAME" in mistake(tmp_path)
    assert read_released(tmp_path, "end").method == "end"


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"feature.9.weight": torch.zeros(2, 2)}, "has feature.9.weight, which our mlp does not"),
        ({"extra": torch.zeros(2)}, "has extra, which our mlp does not"),
        ({"feature.2.bias": torch.zeros(9).to_sparse()}, "feature.2.bias is not a plain tensor"),
        ({"feature.0.weight": torch.zeros(1, 1).expand(10**6, 10**6)}, "feature.0.weight is not a plain tensor"),
    ],
)
def test_tensors_of_no_use(changed: dict[str, Any], found: str, tmp_path: Path) -> None:
    assert found in mistake(save(tmp_path / "model.th", lff_content(**changed)))


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"feature.2.bias": None}, "(LfF) lacks debiased.encoder.layers.1.bias of this model"),
        ({"classifier.bias": None, "classifier.weight": None}, "lacks debiased.head.weight and 1 more"),
        (
            {"feature.2.bias": torch.zeros(8)},
            "debiased.encoder.layers.1.bias is (8,), but this model and data set need (9,)",
        ),
        ({"feature.6.weight": torch.zeros(9, 9)}, "lacks debiased.encoder.layers.3.bias"),
    ],
)
def test_weights_that_do_not_fit(changed: dict[str, Any], found: str, tmp_path: Path) -> None:
    released = read_released(save(tmp_path / "model.th", lff_content(**changed)), "lff")
    sizes = {name.rpartition(".")[2]: value for name, value in released.settings.items() if "model.hparams" in name}
    method = built("lff", "mlp", SHAPE, 2, {}, sizes)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_released(released, method, CLASSES)
    assert found in str(error.value)
    assert all(tensor.equal(before[name]) for name, tensor in method.state_dict().items())


def test_weights_for_other_data(tmp_path: Path) -> None:
    released = read_released(save(tmp_path / "model.th", lff_content()))
    with pytest.raises(UserError, match=r"has 3 classes, the data set 2; name the weights' data set"):
        load_released(released, two_classes(SHAPE), 2)
    with pytest.raises(UserError, match=r"layers\.0\.weight is \(9, 108\), .* need \(9, 192\); name the data set"):
        load_released(released, built("lff", "mlp", (3, 8, 8), 2, {}, LFF_MLP), CLASSES)


def two_classes(shape: tuple[int, ...]) -> Method:
    from debiaslab.methods import METHODS, Task
    from debiaslab.models import Networks, architecture

    cls = METHODS["lff"]
    return cls(
        cls.Config(), Networks(architecture("mlp", LFF_MLP), shape, 2, 0), Task(2, torch.zeros(2, dtype=torch.int64), 0)
    )


def test_a_network_that_is_not_known(tmp_path: Path) -> None:
    content = {"debias_branch.c9.weight": torch.zeros(2, 2), "bias_branch.0.weight": torch.zeros(2, 2)}
    message = mistake(save(tmp_path / "a.th", content))
    assert (
        "the target network of DeNetDM's second stage has an unknown architecture: it begins with c9.weight (2, 2)"
        in message
    )


def test_more_than_one_biased_network(tmp_path: Path) -> None:
    [content] = (
        CASES["rebias"].files(built("rebias", "simple_conv", SHAPE, 1, {}, CASES["rebias"].model_hparams)).values()
    )
    content["g_nets"] *= 2
    assert "has 2 biased networks (n_g_nets)" in mistake(save(tmp_path / "best.pth", content))
    content["g_nets"] = []
    assert read_released(save(tmp_path / "best.pth", content)).branches == ("target",)


def archive(path: Path, **kind: Any) -> None:
    with zipfile.ZipFile(path, "w", **kind) as file:
        file.writestr("archive/data.pkl", b"\0" * 10**6)


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("storages"))


FOREIGN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "text": (lambda path: path.write_text("no weights"), "is not a PyTorch file"),
    "nothing": (lambda path: path.write_bytes(b""), "is not a PyTorch file"),
    "tar": (tar, "is not a PyTorch file"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"state_dict": 1})), "is not a PyTorch file"),
    "another archive": (lambda path: zipfile.ZipFile(path, "w").writestr("a.npy", b"1"), "is not a PyTorch file"),
    "tensor": (lambda path: torch.save(torch.zeros(2), path), "has no weights in a known format"),
    "other weights": (lambda path: torch.save({"a.weight": torch.zeros(2)}, path), "has no weights in a known format"),
    "numbers as names": (lambda path: torch.save({1: torch.zeros(2)}, path), "has no weights in a known format"),
    "a whole network": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        "contains a Python object, torch.nn.modules",
    ),
    "an object": (lambda path: torch.save({"state_dict": Fraction(1, 2)}, path), "an object, fractions.Fraction"),
    "bomb": (lambda path: archive(path, compression=zipfile.ZIP_DEFLATED), "it is compressed"),
    "no pickle": (archive, "truncated or damaged"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files(name: str, tmp_path: Path) -> None:
    write, found = FOREIGN[name]
    write(tmp_path / "file.th")
    assert found.replace("an object", "a Python object") in mistake(tmp_path / "file.th")


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_file_that_is_cut_off(is_zip: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.th"
    torch.save(lff_content(), path, _use_new_zipfile_serialization=is_zip)
    content = path.read_bytes()
    for length in (len(content) // 3, len(content) - 400):
        path.write_bytes(content[:length])
        assert "is truncated or damaged; download it again" in mistake(path)
        assert "is truncated or damaged; download it again" in mistake(tmp_path)  # not left out of a folder


def test_there_is_no_file(tmp_path: Path) -> None:
    assert "model.th does not exist" in mistake(tmp_path / "model.th")
    assert "contains no PyTorch file" in mistake(tmp_path)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "was here",)

    content = lff_content() | {"options": Evil()}
    for is_zip in (True, False):
        torch.save(content, tmp_path / "model.th", _use_new_zipfile_serialization=is_zip)
        assert "could run code" in mistake(tmp_path / "model.th")
    assert not (tmp_path / "was here").exists()


def test_files_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        for number, is_zip in enumerate((True, False)):
            torch.save(lff_content(), tmp_path / f"{number}.th", _use_new_zipfile_serialization=is_zip)
    for number in range(2):
        assert b"cuda:0" in (tmp_path / f"{number}.th").read_bytes()
        state = read_released(tmp_path / f"{number}.th").state
        assert state["debiased.head.bias"].device.type == "cpu"


def test_names_and_counters_that_vary(tmp_path: Path) -> None:
    """Behind nn.DataParallel or not, without the company, without the counters that older files lack."""
    case = CASES["denetdm-cifar-1"]
    source = built("denetdm", "conv_branches", SMALL, 1, case.hparams, case.model_hparams)
    [content] = denetdm("conv3", "resnet20")(source).values()
    old = {name: tensor for name, tensor in content.items() if not name.endswith("num_batches_tracked")}
    save(tmp_path / "1.th", OrderedDict({f"module.{name}": tensor.half() for name, tensor in old.items()}))
    released = read_released(tmp_path / "1.th")
    target = built("denetdm", "conv_branches", SMALL, 2, case.hparams, case.model_hparams)
    load_released(released, target, CLASSES)
    image = torch.rand(2, *SMALL)
    torch.testing.assert_close(target.predict(image), source.predict(image), rtol=1e-2, atol=1e-2)
