"""Blocks and chunks, by nnU-Net's word."""

from __future__ import annotations

import json
import random
from math import prod
from pathlib import Path
from typing import Any

import pytest
from curate_blosc2.partition import BLOCK_BYTES, CHUNK_BYTES, partition
from hypothesis import given, settings
from hypothesis import strategies as st

from curate_core import StepError

TABLE = json.loads((Path(__file__).parent / "nnunet_shapes.json").read_text(encoding="utf-8"))
SIZES = st.integers(1, 3000)


@pytest.mark.parametrize("row", TABLE["rows"], ids=lambda row: f"{row['image']}-{row['patch']}-{row['itemsize']}".replace(" ", ""))
def test_shapes_that_nnunet_gave(row: dict[str, Any]) -> None:
    blocks, chunks = partition(row["image"], "czyx", row["patch"], row["itemsize"])
    assert list(blocks) == row["blocks"]
    assert list(chunks) == row["chunks"]


def test_the_table_is_worth_its_name() -> None:
    assert len(TABLE["rows"]) >= 50
    assert {len(row["patch"]) for row in TABLE["rows"]} == {2, 3}
    assert {row["itemsize"] for row in TABLE["rows"]} == {1, 2, 4, 8}


@pytest.mark.parametrize(
    ("shape", "patch", "blocks", "chunks"),
    [
        ((512, 512, 300), 128, (32, 32, 32), (128, 128, 96)),
        ((240, 240, 155), 128, (32, 32, 32), (128, 128, 96)),
        ((96, 96, 60), 64, (32, 32, 32), (96, 96, 60)),
        ((40, 48, 40), 64, (32, 32, 32), (40, 48, 40)),
    ],
)
def test_worked_examples(shape: Any, patch: int, blocks: Any, chunks: Any) -> None:
    assert partition(shape, "zyx", [patch] * 3, 4) == (blocks, chunks)


def test_two_thousand_shapes_equal_those_of_nnunet() -> None:
    """Where nnunetv2 is installed (``pip install --no-deps nnunetv2 batchgenerators`` is enough)."""
    module = pytest.importorskip("nnunetv2.training.dataloading.nnunet_dataset", reason="nnunetv2 is not installed")
    rng = random.Random(5)
    for _ in range(2000):
        most, widest = rng.choice([4, 40, 300, 1500]), rng.choice([2, 16, 130, 400])
        shape = [rng.randint(1, 4), *(rng.randint(1, most) for _ in range(3))]
        patch = [rng.randint(1, widest) for _ in range(rng.choice([2, 3]))]
        itemsize = rng.choice([1, 2, 4, 8])
        assert partition(shape, "czyx", patch, itemsize) == module.comp_blosc2_params(shape, patch, itemsize), (shape, patch, itemsize)


@settings(max_examples=300, deadline=None)
@given(shape=st.lists(SIZES, min_size=1, max_size=3), data=st.data(), itemsize=st.sampled_from([1, 2, 4, 8]))
def test_it_ends_within_its_bounds(shape: list[int], data: Any, itemsize: int) -> None:
    patch = data.draw(st.none() | st.lists(SIZES, min_size=len(shape), max_size=len(shape)))
    blocks, chunks = partition(shape, "zyx"[-len(shape) :], patch, itemsize)
    assert prod(blocks) * itemsize <= BLOCK_BYTES
    assert prod(chunks) * itemsize <= CHUNK_BYTES
    assert all(1 <= b <= c <= n for b, c, n in zip(blocks, chunks, shape, strict=True))


def test_axes_of_any_order() -> None:
    """Axes that are not spatial are 1 in both; a plane counts as a volume of one slice."""
    blocks, chunks = partition((300, 512, 512), "zyx", (128, 128, 128), 4)
    assert partition((2, 300, 512, 512), "czyx", (128, 128, 128), 4) == ((1, *blocks), (1, *chunks))
    assert partition((300, 512, 512, 3), "zyxc", (128, 128, 128), 4) == ((*blocks, 1), (*chunks, 1))
    assert partition((5, 300, 512, 512, 3), "tzyxc", (128, 128, 128), 4) == ((1, *blocks, 1), (1, *chunks, 1))
    plane = partition((1, 512, 512), "zyx", (256, 256), 4)
    assert partition((512, 512), "yx", (256, 256), 4) == (plane[0][1:], plane[1][1:])
    assert partition((7, 512, 512), "cyx", (256, 256), 4) == plane
    assert partition((512, 512), "yx", None, 4) == partition((512, 512), "yx", (512, 512), 4)


@pytest.mark.parametrize(
    ("axes", "patch", "message"),
    [("zyx", (4,), "a patch of 4 has no meaning"), ("yx", (4, 4, 4), "4 x 4 x 4"), ("zyx", (4, 4, 4, 4), "4 x 4 x 4 x 4")],
)
def test_patches_that_do_not_fit(axes: str, patch: Any, message: str) -> None:
    with pytest.raises(StepError, match=message) as caught:
        partition([8] * len(axes), axes, patch, 4)
    assert caught.value.hint == ("give 3 numbers, or 2 for planes" if axes == "zyx" else "give 2 numbers")


def test_arrays_without_a_place_in_space() -> None:
    with pytest.raises(StepError, match="axes 'tc' has no spatial axis"):
        partition((4, 5), "tc", None, 4)
