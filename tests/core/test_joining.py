"""Several files as one layer: images along channels, tractograms one behind the other; digests of what they make."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest

from curate_core.arrays import read
from curate_core.digest import digest_of
from curate_core.errors import SourceError, StepError
from curate_core.grid import Grid
from curate_core.model import Image, LayerSource, Tractogram
from curate_core.opening import join

GRID = Grid.from_spacing((2, 3, 4), "zyx", (1.0, 1.0, 1.0), "mm")
FILES = LayerSource((Path("/a"), Path("/b")), join="channels")


def lines(*lengths, first=0, grid=GRID, **data):
    count = sum(lengths)
    points = np.arange(first, first + 3 * count, dtype=np.float32).reshape(count, 3)
    edges = np.cumsum([0, *lengths])
    return Tractogram(points, edges[:-1], np.array(lengths, np.int64), grid, **data)


def test_tractograms_follow_each_other():
    first = lines(2, 3, per_streamline={"w": np.array([[1.0], [2.0]]), "v": np.zeros((2, 1))}, per_point={"fa": np.zeros((5, 1))})
    second = lines(4, first=100, per_streamline={"w": np.array([[3.0]])})
    joined = join([first, second], FILES)
    assert joined.lengths.tolist() == [2, 3, 4]
    np.testing.assert_array_equal(joined.streamline(1), first.streamline(1))
    np.testing.assert_array_equal(joined.streamline(2), second.streamline(0))
    assert joined.per_streamline["w"].ravel().tolist() == [1, 2, 3]
    assert joined.notes == {"joined": [2, 1], "per_streamline_left_out": ["v"], "per_point_left_out": ["fa"]}


def test_tractograms_that_do_not_fit_are_refused():
    with pytest.raises(StepError, match="joined files a and b lie on different grids"):
        join([lines(1), lines(1, grid=GRID.crop((0, 0, 0), (1, 3, 4)))], FILES)
    wide = lines(1, per_streamline={"w": np.zeros((1, 2))})
    with pytest.raises(SourceError, match="data 'w' per streamline has different shapes in the files"):
        join([lines(1, per_streamline={"w": np.zeros((1, 1))}), wide], FILES)
    with pytest.raises(SourceError, match="images and tractograms cannot be joined"):
        join([lines(1), Image(np.zeros((2, 3, 4)), GRID)], FILES)


def test_points_in_time_become_channels():
    series = np.arange(5 * 24).reshape(5, 2, 3, 4)
    one = np.arange(24).reshape(2, 3, 4)
    grid = GRID.add("t", 5, 0)
    joined = join([Image(series, grid), Image(one, GRID)], FILES)
    assert (joined.grid.axes, joined.grid.shape) == ("zyxc", (2, 3, 4, 6))
    assert joined.notes["joined"] == [5, 1]
    np.testing.assert_array_equal(read(joined.array)[..., :5], np.moveaxis(series, 0, 3))
    np.testing.assert_array_equal(read(joined.array)[..., 5], one)


def test_the_digest_of_a_tractogram_counts_its_data():
    plain = lines(2, 3)
    data = attrs.evolve(plain, per_streamline={"w": np.array([[1.0], [2.0]])})
    other = attrs.evolve(plain, per_streamline={"w": np.array([[1.0], [3.0]])})
    renamed = attrs.evolve(plain, per_streamline={"v": np.array([[1.0], [2.0]])})
    by_point = attrs.evolve(plain, per_point={"w": np.zeros((5, 1))})
    digests = {digest_of(value) for value in (plain, data, other, renamed, by_point)}
    assert len(digests) == 5
    assert digest_of(data) == digest_of(attrs.evolve(data))
