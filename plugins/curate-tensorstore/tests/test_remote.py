"""Volumes behind a server of this machine that is slow, fails now and then, or for good."""

import numpy as np
import pytest
from curate_tensorstore.reader import TensorStoreReader

import curate_core
from curate_core import LayerSource, SourceError
from curate_core.arrays import absent
from curate_core.testing import context


def layer(server, **options):
    return TensorStoreReader(**options).open(LayerSource(uri=f"precomputed://{server.url}/layer"), context())


def test_only_the_chunks_under_a_box_are_asked_for(server, voxels):
    array = layer(server).array
    server.asked.clear()
    assert np.array_equal(array[2:6, 3:9, 20:30], voxels[2:6, 3:9, 20:30])
    assert [path for path in server.asked if "_" in path] == ["/layer/4_4_40/16-32_0-16_0-8"]
    assert np.array_equal(array[0:8, 0:16, 16:32], voxels[0:8, 0:16, 16:32])
    assert len(server.asked) == 1, "the chunk is cached"


@pytest.mark.slow
def test_requests_that_fail_are_tried_again(server, voxels):
    server.fails = {"/info": 1, "16-32_0-16_0-8": 2}
    assert np.array_equal(layer(server, retries=3).array[...], voxels)
    assert server.asked.count("/layer/4_4_40/16-32_0-16_0-8") == 3


def test_requests_that_fail_for_good_are_an_error_of_that_box(server, voxels):
    server.fails = {"16-32_0-16_0-8": 99}
    array = layer(server, retries=1, cache=0).array
    with pytest.raises(SourceError, match=r"layer, z 0:8, y 0:16, x 16:32: it cannot be read: .*503"):
        array[0:8, 0:16, 16:32]
    assert server.asked.count("/layer/4_4_40/16-32_0-16_0-8") == 2
    assert np.array_equal(array[8:, :, :], voxels[8:])


def test_what_may_not_be_read(server):
    server.broken = ("/info",)
    with pytest.raises(SourceError, match=r"layer, info: it cannot be read: .*403.*\(is the address right, and may it be read\?\)"):
        layer(server, retries=0)


@pytest.mark.slow
def test_a_box_may_take_so_long(server, voxels):
    array = layer(server, timeout=2, cache=0).array
    assert np.array_equal(array[...], voxels)
    server.slow = 8
    hint = r'\(set a longer "timeout", or null to wait for as long as "retries" last\)'
    with pytest.raises(SourceError, match=rf"/layer, z 0:8, y 0:16, x 16:32: no answer within 2 s {hint}"):
        array[0:8, 0:16, 16:32]
    with pytest.raises(SourceError, match=r"/layer, info: no answer within 2 s"):
        layer(server, timeout=2, cache=0)
    server.slow = 0
    server.fails = {"16-32_0-16_0-8": 99}
    with pytest.raises(SourceError, match="no answer within 2 s"):
        layer(server, timeout=2, retries=99, cache=0).array[...]


def test_looking_for_missing_chunks_costs_no_second_request(server, voxels):
    """And one that is missing is remembered by the process."""
    (server.folder / "layer/4_4_40/16-32_0-16_0-8").unlink()
    array = layer(server, missing="fill").array
    server.chunks()
    assert absent(array, (slice(0, 8), slice(0, 16), slice(8, 32))) == pytest.approx(2 / 3)
    assert sorted(server.chunks()) == ["0-16_0-16_0-8", "16-32_0-16_0-8"]
    expected = voxels.copy()
    expected[0:8, 0:16, 16:32] = 0
    assert np.array_equal(array[0:8, 0:16, 8:32], expected[0:8, 0:16, 8:32])
    assert absent(layer(server, missing="fill").array, (slice(0, 8), slice(0, 16), slice(0, 32))) == 0.5
    assert server.chunks() == []


@pytest.mark.slow
def test_a_box_whose_missing_chunks_cannot_be_looked_up(server):
    server.fails = {"16-32_0-16_0-8": 99}
    with pytest.raises(SourceError, match=r"layer, z 0:16, y 0:32, x 0:48: it cannot be read: .*503"):
        absent(layer(server, retries=0).array)
    array = layer(server, cache=0, timeout=2).array
    server.slow = 8
    with pytest.raises(SourceError, match=r"layer, z 0:16, y 0:32, x 0:48: no answer within 2 s"):
        absent(array)


def test_concurrency_is_bounded(server, voxels):
    server.slow = 0.05
    assert np.array_equal(layer(server, concurrency=2, cache=0).array[...], voxels)
    assert server.most <= 2


@pytest.mark.slow
def test_a_layer_that_fails_is_quarantined_and_done_by_the_next_run(server, voxels, tmp_path):
    spec = {
        "version": 1,
        "name": "remote",
        "source": {
            "use": "list",
            "cases": [
                {"case": name, "layers": {"image": {"uri": f"precomputed://{server.url}/{where}"}}}
                for name, where in (("good", "layer"), ("gone", "other"))
            ],
        },
        "read": {"*": {"use": "tensorstore", "retries": 0}},
        "rois": [{"use": "grid", "size": 16}],
        "write": [{"use": "npy"}],
        "output": "out",
    }
    summary = curate_core.run(spec, folder=tmp_path, workers=1)
    assert (summary.exit_code, summary.written) == (1, 6)
    (row,) = curate_core.open(tmp_path / "out").quarantined()
    assert (row["case"], row["step"]) == ("gone", "read")
    assert f"{server.url}/other" in row["reason"]
