from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import imagehash
import numpy as np
import pytest
from curate_em.duplicates import NearDuplicates
from PIL import Image

from curate_core import Features, Scope, StepError
from curate_core.structure import Mistakes, structure
from curate_core.testing import FilterTests, PluginTests, context, make_batch


class TestNearDuplicates(FilterTests):
    component = NearDuplicates
    keeps_existing = True


class TestNearDuplicatesOfLargeHashes(TestNearDuplicates):
    options: ClassVar[dict[str, Any]] = {"hash_size": 16, "distance": 30, "within": "dataset", "size": 32}


class TestPlugin(PluginTests):
    plugin_module = "curate_em.plugin"
    distribution = "curate-em"
    readme = Path(__file__).parents[1] / "README.md"
    examples: ClassVar[dict[str, Any]] = {"roi_finder:around-patches": {"patches": "out/cem"}}


def tiles(count: int, shape: tuple[int, ...] = (40, 40), seed: int = 0) -> Any:
    """Smooth tiles in small groups that look alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 210, (count // 3 + 1, 6, 6)).astype(np.uint8)
    made = []
    for i in range(count):
        image = Image.fromarray(coarse[i // 3]).resize(shape[::-1], Image.Resampling.BICUBIC)
        made.append(np.clip(np.asarray(image) + rng.normal(0, 6, shape), 0, 255).astype(np.uint8))
    return np.stack(made)


def judge(component: NearDuplicates, stack: Any, seed: int = 0, existing: Any = None) -> Any:
    columns = component.score(make_batch(stack), context("near-duplicates"))
    known = np.zeros(len(stack), bool) if existing is None else existing
    return component.keep(Features(columns, known, str), context("near-duplicates", seed))


def test_the_kept_set_obeys_the_rule() -> None:
    """By ImageHash's own distance: none kept near another, each dropped near the kept one that it names."""
    stack = tiles(60)
    verdict = judge(NearDuplicates(), stack)
    theirs = [imagehash.dhash(Image.fromarray(tile)) for tile in stack]
    kept = np.flatnonzero(verdict.keep)
    assert 0 < len(kept) < 60
    assert all(theirs[a] - theirs[b] > 12 for a in kept for b in kept if a < b)
    for row in np.flatnonzero(~verdict.keep):
        assert verdict.keep[verdict.because[row]]
        assert theirs[row] - theirs[verdict.because[row]] == verdict.score[row] <= 12
    assert np.isnan(verdict.score[verdict.keep]).all()
    assert (verdict.because[verdict.keep] == -1).all()


def test_the_order_follows_from_the_seed() -> None:
    stack = tiles(60)
    same = [judge(NearDuplicates(), stack, seed=4).keep for _ in range(2)]
    np.testing.assert_array_equal(*same)
    others = [judge(NearDuplicates(), stack, seed=seed).keep for seed in range(5)]
    assert len({keep.tobytes() for keep in others}) > 1


def test_existing_samples_come_first() -> None:
    stack = np.concatenate([tiles(30), tiles(30)])  # the second half equals the first
    for first in (slice(0, 30), slice(30, 60)):
        existing = np.zeros(60, bool)
        existing[first] = judge(NearDuplicates(), stack[first]).keep
        verdict = judge(NearDuplicates(), stack, existing=existing)
        np.testing.assert_array_equal(verdict.keep, existing)


def test_scope_is_the_option() -> None:
    assert NearDuplicates().scope() == Scope("case")
    assert structure({"within": "dataset"}, NearDuplicates, Path()).scope() == Scope("dataset")
    assert structure({"within": {"attribute": "scan"}}, NearDuplicates, Path()).scope() == Scope("attribute", "scan")


@pytest.mark.parametrize("shape", [(1, 30, 31), (30, 31, 1)])
def test_an_axis_of_one_is_left_out(shape: tuple[int, ...]) -> None:
    flat = tiles(6, (30, 31))
    axes = "zyx" if shape[0] == 1 else "yxc"
    hashes = NearDuplicates().score(make_batch(flat.reshape(6, *shape), axes), context())["hash"]
    np.testing.assert_array_equal(hashes, NearDuplicates().score(make_batch(flat), context())["hash"])


def test_other_types_are_refused() -> None:
    with pytest.raises(
        StepError, match=r"case case: near-duplicates hashes uint8 samples, these are uint16 \(put to-uint8 under preprocess\)"
    ):
        NearDuplicates().score(make_batch(np.zeros((2, 8, 8), np.uint16)), context())


def test_volumes_are_refused() -> None:
    with pytest.raises(StepError, match=r"hashes 2D samples, these have shape \(4, 8, 8\) \(cut sections"):
        NearDuplicates().score(make_batch(np.zeros((2, 4, 8, 8), np.uint8)), context())


def test_the_array_must_be_named_among_several() -> None:
    batch = make_batch({"em": tiles(4), "mask": np.zeros((4, 40, 40), np.uint8)})
    with pytest.raises(StepError, match='name it with "array"'):
        NearDuplicates().score(batch, context())
    hashes = NearDuplicates(array="em").score(batch, context())["hash"]
    np.testing.assert_array_equal(hashes, NearDuplicates().score(make_batch(tiles(4)), context())["hash"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"distance": 64}, "distance: 64 of the hash's 64 bits would make all samples alike"),
        ({"hash_size": 2, "distance": 12}, "distance: 12 of the hash's 4 bits"),
        ({"within": "sample"}, "within: a sample alone has no duplicates"),
        ({"hash_size": 1}, "1 must be at least 2"),
        ({"distance": -1}, "-1 must be at least 0"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Mistakes) as caught:
        structure(options, NearDuplicates, Path())
    assert words in str(caught.value)


def test_numba_is_imported_only_where_it_works() -> None:
    probe = "import sys, curate_em.duplicates, curate_em.sections; print('numba' in sys.modules, 'PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
