"""The filter, alone and in runs."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from curate_classify.images import MEAN, STD, to_input
from curate_classify.informative import InformativePatch
from curate_classify.weights import load_model

import curate_core
from curate_core import StepError, Worker
from curate_core.testing import FilterTests, PluginTests, context, make_batch, values


class TestPlugin(PluginTests):
    plugin_module = "curate_classify.plugin"
    distribution = "curate-classify"
    readme = Path(__file__).parents[1] / "README.md"


class TestInformativePatch(FilterTests):
    component = InformativePatch
    shape = (40, 36)

    @pytest.fixture(autouse=True)
    def _weights(self, weights, monkeypatch):
        monkeypatch.setattr(type(self), "options", {"weights": str(weights), "threshold": 0.5, "size": 32}, raising=False)


def scored(batch, /, **options):
    component = InformativePatch(**options)
    return component.score(batch, context(state=component.setup(Worker())))["probability"]


def test_scores_are_the_networks_sigmoid_whatever_the_batch(weights):
    images = values((4, 224, 224), "uint8", 1)
    batch = make_batch(images)
    model = load_model(weights)
    grey = torch.from_numpy(images / 255.0).float()[:, None]
    seen = torch.cat([(grey - mean) / std for mean, std in zip(MEAN, STD, strict=True)], 1)
    with torch.inference_mode():
        expected = torch.sigmoid(model(seen))[:, 0].numpy()
    for size in (1, 3):
        np.testing.assert_allclose(scored(batch, weights=weights, batch=size), expected, atol=2e-6)


def test_other_sizes_are_resized_as_opencv_does():
    """Bilinear between pixel centres: a ramp stays a ramp away from the borders."""
    ramp = np.tile(np.arange(0, 224, 2, dtype=np.uint8), (112, 1))[None]
    seen = to_input(ramp)[0, 0].numpy() * STD[0] + MEAN[0]
    expected = ((np.arange(224) + 0.5) / 2 - 0.5) * 2 / 255
    np.testing.assert_allclose(seen[100, 1:-1], expected[1:-1], atol=1e-5)
    assert seen.shape == (224, 224)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (values((2, 8, 8), "uint16"), "the classifier sees uint8 samples, these are uint16"),
        (values((2, 3, 8, 8), "uint8"), "the classifier sees 2D grey samples, these have shape (3, 8, 8)"),
    ],
)
def test_what_is_no_grey_image_is_refused(weights, array, text):
    with pytest.raises(StepError, match=re.escape(text)):
        scored(make_batch(array), weights=weights)


@pytest.fixture(scope="module")
def datasets(make_dataset):
    return [
        make_dataset(name, {"v": values((12, 48, 48), "uint8", name), "w": values((5, 48, 48), "uint8", (name, 1))})
        for name in ("one", "two")
    ]


def spec(datasets, weights, threshold):
    """The ready spec, on datasets made here; .npy files in the place of .tiff, so that no other plugin is needed."""
    given = json.loads((Path(__file__).parents[3] / "specs" / "em/classify_patches.json").read_text())
    given["source"]["path"] = [str(dataset) for dataset in datasets]
    given["filter"][0] |= {"weights": str(weights), "threshold": threshold}
    given["write"] = [{"use": "npy", "path": given["write"][0]["path"].replace(".tiff", ".npy")}]
    return {**given, "output": "out"}


@pytest.fixture(scope="module")
def threshold(datasets, weights):
    """Between the scores of an untrained network, which lie close together."""
    batches = [np.stack([sample["image"] for sample in curate_core.open(d)]) for d in datasets]
    return float(np.median(scored(make_batch(np.concatenate(batches)), weights=weights)))


def tree(folder):
    files = (f for f in sorted(folder.rglob("*")) if f.is_file() and ".curate" not in f.relative_to(folder).parts)
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_datasets_are_filtered_into_a_folder_each(tmp_path, datasets, weights, threshold):
    trees = []
    for workers in (0, 2):
        (tmp_path / str(workers)).mkdir()
        summary = curate_core.run(spec(datasets, weights, threshold), folder=tmp_path / str(workers), workers=workers)
        assert summary.exit_code == 0
        trees.append(tree(tmp_path / str(workers) / "out"))
    assert trees[0] == trees[1]
    dataset = curate_core.open(tmp_path / "0" / "out")
    kept = {row["id"]: row["scores"]["informative-patch"] for row in dataset.rows()}
    dropped = {row["id"]: row["score"] for row in dataset.dropped()}
    assert len(kept) + len(dropped) == 34
    assert len(kept) == 17
    assert min(kept.values()) > threshold >= max(dropped.values())
    assert {row["arrays"]["image"]["file"].partition("/")[0] for row in dataset.rows()} == {"one", "two"}
    opened = {d.name: curate_core.open(d) for d in datasets}
    original = {f"{name}/{row['id']}": sample["image"] for name, o in opened.items() for row, sample in zip(o.rows(), o, strict=True)}
    for row, sample in zip(dataset.rows(), dataset, strict=True):
        assert np.array_equal(sample["image"], original[row["id"]])


def test_those_done_before_are_skipped(tmp_path, datasets, weights, threshold):
    one = curate_core.run(spec(datasets[:1], weights, threshold), folder=tmp_path, workers=0)
    again = curate_core.run(spec(datasets[:1], weights, threshold), folder=tmp_path, workers=0)
    assert (one.units_done > 0, again.units_done) == (True, 0)
    other = spec(datasets[:1], weights, threshold)
    other["filter"][0]["threshold"] = 0.0
    assert curate_core.run(other, folder=tmp_path, workers=0).written == 17


def test_other_weights_are_another_result(tmp_path, datasets, weights):
    state = torch.load(weights, weights_only=True)
    own = tmp_path / "own.pth"
    torch.save({**state, "fc.bias": state["fc.bias"] - 100}, own)
    assert curate_core.run(spec(datasets[:1], own, 0.01), folder=tmp_path, workers=0).written == 0
    torch.save({**state, "fc.bias": state["fc.bias"] + 100}, own)
    assert curate_core.run(spec(datasets[:1], own, 0.01), folder=tmp_path, workers=0).written == 17
    lock = json.loads((tmp_path / "out/spec.lock.json").read_text())
    assert lock["spec"]["filter"][0]["threshold"] == 0.01
