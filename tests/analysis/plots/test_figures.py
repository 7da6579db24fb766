"""What is in each kind of picture: the data of lines and bars, labels, counts. Not its pixels."""

from pathlib import Path

import numpy
import pandas
import pytest

from debiaslab.analysis.plots.curves import lines_figure
from debiaslab.analysis.plots.embeddings import by_pca, by_tsne, class_style, embeddings_figure
from debiaslab.analysis.plots.figure import FORMATS, save_figure
from debiaslab.analysis.plots.groups import groups_figure
from debiaslab.analysis.plots.hardest import Hardest, hardest_figure
from debiaslab.analysis.plots.ratios import ratios_figure
from debiaslab.analysis.plots.weights import shares, weights_figure
from tests.analysis.plots.frames import lines, texts


def test_lines_and_bands_over_seeds() -> None:
    frame = lines({"erm": 3, "lff": 1}, {"debiased": True, "biased": False})
    figure = lines_figure(frame, ["Test accuracy: x"], "minmax", 2)
    assert len(figure.axes) == 4
    assert {axis.get_title() for axis in figure.axes} == {"erm (n=3)", "lff (n=1)", ""}
    first, second = figure.axes[0], figure.axes[1]
    line = next(line for line in first.lines if line.get_label() == "debiased")
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert line.get_ydata().tolist() == [12, 22, 32, 42, 52]
    assert [len(axis.collections) for axis in (first, second)] == [2, 0]  # one seed has no band
    band = first.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 11
    assert band[:, 1].max() == 53
    assert {"debiased (prediction)", "biased"} <= set(texts(figure))
    assert "band: least to greatest" in figure.get_suptitle()
    assert len({str(line.get_linestyle()) for line in first.lines}) == 2
    narrow = lines_figure(frame, [], "std", 1)
    assert "band: standard deviation" in narrow.get_suptitle()
    assert narrow.axes[0].collections[0].get_paths()[0].vertices[:, 1].max() == 53  # std of 1, 2, 3 is 1


def test_predictions_of_all_methods_share_a_style() -> None:
    both = pandas.concat([lines({"erm": 1}, {"classifier": True}), lines({"lff": 1}, {"debiased": True})])
    figure = lines_figure(both, [], "minmax", 2)
    assert len({line.get_color() for axis in figure.axes for line in axis.lines}) == 1
    assert [text for text in texts(figure) if "prediction" in text] == ["prediction"]


def test_a_single_evaluation_is_seen_and_chance_is_drawn() -> None:
    frame = lines({"erm": 1}, {"classifier": True}, epochs=1)
    figure = lines_figure(frame, [], "minmax", 2, {"unbiased (%)": 10, "aligned (%)": 50})
    dot, chance = figure.axes[0].lines
    assert dot.get_marker() == "o"
    assert list(chance.get_ydata()) == [10, 10]
    assert "chance" in texts(figure)


def test_group_map_has_counts_and_marks_empty_groups() -> None:
    rows = [(0, 0, 75.4, 40), (0, 1, 20.0, 4), (1, 1, 100.0, 37)]
    frame = pandas.DataFrame(rows, columns=["target", "bias", "accuracy", "total"]).assign(row="erm", n=2)
    figure = groups_figure(frame, (2, 3), (["cat", "dog"], ["in", "out", "both"]), ["title"], 2)
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == ["75", "40", "20", "4", "x", "x", "100", "37", "x"]
    assert axis.get_title() == "erm (n=2)"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["cat", "dog"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["in", "out", "both"]
    assert axis.images[0].get_clim() == (0, 100)
    assert "crossed out: no test image" in figure.get_suptitle()


def test_histograms_of_weights_and_votes() -> None:
    frame = pandas.DataFrame(
        {
            "weight": [0.05, 0.06, 0.9, numpy.nan],
            "votes": numpy.array([5, 4, 0, 1], dtype=numpy.uint8),
            "kept": [True, True, False, False],
            "conflicting": [False, False, True, True],
        }
    ).assign(seed=3)
    figure = weights_figure({"lff_be": frame, "lff": frame[["weight", "conflicting", "seed"]]}, ["title"], 2)
    weights, votes, others = figure.axes
    assert {axis.get_title() for axis in figure.axes} == {"lff_be, seed 3", "lff, seed 3"}
    assert weights.get_ylim() == others.get_ylim()
    assert [patch.get_height() for patch in votes.patches] == [0, 0, 0, 0, 50, 50, 50, 50, 0, 0, 0, 0]
    assert "kept: 2 aligned, 0 conflicting" in votes.get_xlabel()
    assert votes.lines[0].get_xdata()[0] == 3.5
    assert {"bias-aligned (2)", "bias-conflicting (2)"} <= set(texts(figure))
    outlines = [step.get_data().values for step in weights.patches if not step.get_fill()]
    assert [values.sum() for values in outlines] == [100, 100]  # the unknown weight counts nowhere


def test_shares() -> None:
    edges = numpy.array([0.0, 0.5, 1.0])
    assert shares(numpy.array([0.1, 0.2, 0.7, 1.0]), edges).tolist() == [50, 50]
    assert shares(numpy.array([numpy.nan]), edges).tolist() == [0, 0]


def test_ratios_with_published_points() -> None:
    rows = [("erm", 1.0, 40.0, 2.0, 3, 50.34, 0.16, "Table 1"), ("erm", 5.0, 70.0, 1.0, 2, None, None, None)]
    names = ["row", "percent", "mean", "std", "n", "published", "published_std", "source"]
    figure = ratios_figure(pandas.DataFrame(rows, columns=names), "test/unbiased", ["title"], 2)
    axis = figure.axes[0]
    ours, paper = (container.lines[0] for container in axis.containers)
    assert ours.get_xdata().tolist() == [1, 5]
    assert ours.get_ydata().tolist() == [40, 70]
    assert (paper.get_xdata().tolist(), paper.get_ydata().tolist()) == ([1], [50.34])
    assert paper.get_markerfacecolor() == "none"
    assert ours.get_color() == paper.get_color()
    assert ours.get_marker() == paper.get_marker()
    assert axis.get_xscale() == "log"
    assert {"erm (n=2 to 3)", "hollow: published"} <= set(texts(figure))


def test_projections() -> None:
    points = numpy.random.default_rng(0).normal(size=(60, 5)) * [9, 3, 0.1, 0.1, 0.1]
    places, label = by_pca(points)
    assert numpy.allclose(numpy.abs(numpy.corrcoef(places[:, 0], points[:, 0])[0, 1]), 1, atol=1e-2)
    assert label == "PCA (100 % of the variance)"
    assert by_pca(numpy.zeros((4, 1)))[0].tolist() == [[0, 0]] * 4
    first, second = by_tsne(points), by_tsne(points)
    assert first[0].shape == (60, 2)
    assert (first[0] == second[0]).all()
    assert first[1] == "t-SNE (perplexity 19.6667)"
    nothing = by_tsne(numpy.ones((9, 5)))
    assert (nothing[0].tolist(), nothing[1]) == ([[0, 0]] * 9, "t-SNE (too few distinct features)")


def test_embeddings_show_every_image_by_target_and_by_bias() -> None:
    features = {name: numpy.random.default_rng(1).normal(size=(30, 3)) for name in ("target", "deep")}
    labels = pandas.DataFrame({"target": [0, 1, 2] * 10, "bias": [0, 1] * 15})
    names = {"target": ["a", "b", "$c"], "bias": ["in", "out"]}
    figure = embeddings_figure(features, labels, names, ["pca"], ["title"], 2)
    titles = [axis.get_title() for axis in figure.axes]
    branches = ("target", "deep")
    assert titles == [f"{branch} branch, by {label}" for branch in branches for label in ("target", "bias")]
    for axis, count in zip(figure.axes, (3, 2, 3, 2), strict=True):
        assert [len(points.get_offsets()) for points in axis.collections] == [30 // count] * count
    legend = [text for text in texts(figure) if text.startswith(("target ", "bias ")) and "branch" not in text]
    assert legend == ["target a", "target b", "target $c", "bias in", "bias out"]


@pytest.mark.parametrize("count", [2, 10, 14, 40])
def test_classes_look_different(count: int) -> None:
    styles = [class_style(position, count) for position in range(count)]
    assert len({(str(style["color"]), style["marker"]) for style in styles}) == count
    if count <= 10:  # in print without colours, too
        assert len({style["marker"] for style in styles}) == count


def test_hardest_images_have_their_labels() -> None:
    images = numpy.zeros((3, 4, 6, 1), dtype=numpy.uint8)
    hardest = Hardest(
        images,
        numpy.array([5, 2, 9]),
        ["cat", "dog", "a name that is much too long"],
        ["in", "out", "in"],
        ["dog", "cat", "cat"],
        numpy.array([0.999, 0.5, 0.6]),
        numpy.array([9.0, 1.0, 0.5]),
        wrong=40,
        total=1_234,
        kind="bias-conflicting test images",
    )
    figure = hardest_figure(hardest, ["erm, seed 1: x"], 2)
    written = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert written[0] == "target cat\nbias in\npredicted dog (100 %)"
    assert "a name that is" in written[2]
    assert "…" in written[2]
    title = " ".join(figure.get_suptitle().split())
    assert "3 of 1,234 bias-conflicting test images with the highest loss (40 are predicted wrongly)" in title


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_picture_is_the_same_file(ending: str, tmp_path: Path) -> None:
    frame = lines({"$\\bad$": 2}, {"classifier": True})
    for name in ("a", "b"):
        save_figure(lines_figure(frame, ["$title", "三"], "minmax", 1), tmp_path / f"{name}.{ending}")
    first = (tmp_path / f"a.{ending}").read_bytes()
    assert first == (tmp_path / f"b.{ending}").read_bytes()
    assert first.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending])
