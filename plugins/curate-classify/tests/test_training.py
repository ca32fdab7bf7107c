"""Labels, splits, scores, and a whole small training on a processor."""

import csv
import json

import numpy as np
import pytest
import torch
from curate_classify.augment import augmented
from curate_classify.command import TrainClassifier
from curate_classify.labels import auroc, read_labels, roc_curve, split_by_source
from hypothesis import given, settings
from hypothesis import strategies as st

import curate_core
from curate_core.cli.main import main
from curate_core.errors import RequestError
from curate_core.testing import CommandTests


def table(path, rows, header=("id", "label")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_labels_from_a_table(tmp_path):
    file = table(tmp_path / "l.csv", [("c", "bad"), ("a", "Good "), ("d", "none"), ("e", "")])
    assert read_labels(file, ["a", "b", "c", "d", "e"]).tolist() == [1, -1, 0, -1, -1]


def test_labels_from_an_array(tmp_path):
    np.save(tmp_path / "l.npy", np.array(["good", "bad", "none"]))
    assert read_labels(tmp_path / "l.npy", "abc").tolist() == [1, 0, -1]
    np.save(tmp_path / "l.npy", np.array([1, 0, 1]))
    assert read_labels(tmp_path / "l.npy", "abc").tolist() == [1, 0, 1]


def test_mistakes_in_labels(tmp_path):
    with pytest.raises(RequestError, match=r"l.csv: line 3: 'perhaps' is no label \(labels are good, bad and none"):
        read_labels(table(tmp_path / "l.csv", [("a", "bad"), ("b", "perhaps")]), "ab")
    with pytest.raises(RequestError, match=r"needs the columns id and label, this has name, label"):
        read_labels(table(tmp_path / "l.csv", [], ("name", "label")), "ab")
    with pytest.raises(RequestError, match=r"1 labelled samples are not in the dataset, 'z' is the first"):
        read_labels(table(tmp_path / "l.csv", [("z", "bad")]), "ab")
    with pytest.raises(RequestError, match="this is no table of labels"):
        read_labels(tmp_path / "nothing.csv", "ab")
    np.save(tmp_path / "l.npy", np.array([1, 0]))
    with pytest.raises(RequestError, match=r"labels of shape \(2,\) for 3 samples"):
        read_labels(tmp_path / "l.npy", "abc")
    np.save(tmp_path / "l.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(RequestError, match="this is no array of labels"):
        read_labels(tmp_path / "l.npy", "a")


@given(st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.integers(0, 6)), min_size=8, max_size=60), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_sources_stay_on_one_side(rows, seed):
    labels, sources = np.array([row[0] for row in rows]), [f"s{row[1]}" for row in rows]
    train, validate = split_by_source(labels, sources, 0.2, np.random.default_rng(seed))
    assert sorted([*train, *validate]) == np.flatnonzero(labels >= 0).tolist()
    if len({sources[i] for i in np.flatnonzero(labels >= 0)}) > 1:
        assert {sources[i] for i in train}.isdisjoint(sources[i] for i in validate)


def test_a_split_keeps_the_share_of_both_labels():
    generator = np.random.default_rng(0)
    labels, sources = generator.integers(0, 2, 2000), [f"s{n}" for n in generator.integers(0, 100, 2000)]
    _, validate = split_by_source(labels, sources, 0.15, generator)
    assert 0.12 < len(validate) / 2000 < 0.18
    assert abs(labels[validate].mean() - labels.mean()) < 0.05
    _, validate = split_by_source(labels, ["one"] * 2000, 0.15, generator)
    assert len(validate) == round(0.15 * np.sum(labels == 0)) + round(0.15 * np.sum(labels == 1))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40))
def test_auroc_is_the_chance_that_good_scores_above_bad(rows):
    labels, scores = np.array([row[0] for row in rows]), np.array([row[1] / 5 for row in rows])
    pairs = [(good > bad) + 0.5 * (good == bad) for good in scores[labels == 1] for bad in scores[labels == 0]]
    if not pairs:
        assert np.isnan(auroc(labels, scores))
        return
    assert auroc(labels, scores) == pytest.approx(np.mean(pairs))
    false, true, _ = roc_curve(labels, scores)
    area = np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2)
    assert area == pytest.approx(np.mean(pairs))
    assert (false[-1], true[-1]) == (1, 1)


def test_augmentation_is_drawn_from_its_generator_alone():
    images = torch.rand(12, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    first, again = (augmented(images, np.random.default_rng(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, augmented(images, np.random.default_rng(5)))
    assert torch.equal(before, torch.get_rng_state())
    assert first.shape == images.shape
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    still = torch.full((40, 1, 9, 9), 0.5)
    assert float((augmented(still, np.random.default_rng(1)).mean((1, 2, 3)) - 0.5).abs().max()) < 0.23, "brightness by a fifth at most"


@pytest.fixture(scope="module")
def trained(labelled, tmp_path_factory):
    """Two trainings alike."""
    dataset, truth = labelled
    folder = tmp_path_factory.mktemp("trained")
    ids = [row["id"] for row in curate_core.open(dataset).rows()]
    labels = table(folder / "labels.csv", [(name, "good" if good else "bad") for name, good in zip(ids, truth, strict=True)])
    how = ["--size", "32", "--epochs", "8", "--batch", "16", "--learn", "all", "--validate", "0.3"]
    state = torch.get_rng_state()
    for out in ("one", "two"):
        assert main(["train-classifier", str(dataset), "--labels", str(labels), "-o", str(folder / out), *how]) == 0
    assert torch.equal(state, torch.get_rng_state())
    return folder


def test_a_training_learns(trained):
    metrics = json.loads((trained / "one" / "metrics.json").read_text())
    assert metrics["auroc"] > 0.95
    assert metrics["accuracy"] > 0.9
    assert metrics["history"][metrics["best pass"] - 1]["auroc"] == metrics["auroc"] == max(h["auroc"] for h in metrics["history"])
    assert metrics["samples"]["train"] + metrics["samples"]["validate"] == 120
    assert 1 <= len(metrics["sources"]["validate"]) <= 3


def test_a_training_gives_the_same_again(trained):
    first, again = (torch.load(trained / out / "weights.pth", weights_only=True) for out in ("one", "two"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name in ("metrics.json", "roc.png", "worst.png"):
        assert (trained / "one" / name).read_bytes() == (trained / "two" / name).read_bytes()
    assert (trained / "one" / "roc.png").read_bytes().startswith(b"\x89PNG")


def test_its_weights_filter(trained, labelled, tmp_path):
    dataset, truth = labelled
    spec = {
        "version": 1,
        "name": "kept",
        "source": {"use": "dataset", "path": str(dataset)},
        "read": {"*": {"use": "samples"}},
        "rois": [{"use": "samples"}],
        "filter": [{"use": "informative-patch", "weights": str(trained / "one" / "weights.pth"), "threshold": 0.0, "size": 32}],
        "write": [{"use": "npy", "path": "{case}/{sample}.npy"}],
        "output": "out",
    }
    curate_core.run(spec, folder=tmp_path, workers=0)
    scores = np.array([row["scores"]["informative-patch"] for row in curate_core.open(tmp_path / "out").rows()])
    assert len(scores) == len(truth)
    assert auroc(truth.astype(int), scores) > 0.95


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--learn", "layer5"], "--learn: the network has no part 'layer5'"),
        (["--epochs", "0"], "--epochs: 0 is less than 1"),
        (["--validate", "1"], "--validate: 1.0 is no share between 0 and 1"),
        (["--pretrained", "nothing.pth"], "this is no file of PyTorch weights"),
    ],
)
def test_mistakes_are_named(labelled, tmp_path, capsys, arguments, text):
    dataset, truth = labelled
    np.save(tmp_path / "labels.npy", truth.astype(int))
    assert main(["train-classifier", str(dataset), "--labels", str(tmp_path / "labels.npy"), "-o", str(tmp_path / "out"), *arguments]) == 2
    assert text in " ".join(capsys.readouterr().err.split())


def test_too_few_labels_or_a_full_folder(labelled, tmp_path, capsys):
    dataset, truth = labelled
    labels = np.where(np.arange(len(truth)) < 60, truth.astype(int), -1)
    np.save(tmp_path / "labels.npy", np.where(labels < 0, "none", np.where(labels == 1, "good", "bad")))
    assert main(["train-classifier", str(dataset), "--labels", str(tmp_path / "labels.npy"), "-o", str(tmp_path / "out")]) == 2
    assert "at least 64 labels are needed, some of each kind" in " ".join(capsys.readouterr().err.split())
    assert main(["train-classifier", str(dataset), "--labels", str(tmp_path / "labels.npy"), "-o", str(tmp_path)]) == 2
    assert "the output folder is there already, and not empty" in " ".join(capsys.readouterr().err.split())


class TestTrainClassifier(CommandTests):
    component = TrainClassifier

    @pytest.fixture(autouse=True)
    def _dataset(self, labelled):
        self.dataset, self.truth = labelled

    def words(self, folder):
        np.save(folder / "labels.npy", self.truth.astype(int))
        how = ["--size", "32", "--epochs", "1", "--learn", "fc", "--validate", "0.3", "--device", "cpu"]
        return [str(self.dataset), "--labels", str(folder / "labels.npy"), "-o", str(folder / "out"), *how]

    def wrong_words(self, folder):
        return [str(self.dataset), "--labels", str(folder / "none.csv"), "-o", str(folder / "out")]
