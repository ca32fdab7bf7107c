"""Volumes behind a server of this machine that is slow, fails now and then, or for good."""

import functools
import http.server
import threading
import time

import numpy as np
import pytest
from curate_tensorstore.reader import TensorStoreReader

import curate_core
from curate_core import LayerSource, SourceError
from curate_core.testing import context, values


class Server:
    """Serves a folder; ``fails[path]`` requests for what ends so are refused first, ``broken`` paths always."""

    def __init__(self, folder):
        self.fails, self.broken, self.slow = {}, (), 0.0
        self.asked, self.at_once, self.most = [], 0, 0
        lock = threading.Lock()
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with lock:
                    outer.asked.append(self.path)
                    outer.at_once += 1
                    outer.most = max(outer.most, outer.at_once)
                    name = next((n for n, left in outer.fails.items() if self.path.endswith(n) and left), None)
                    if name is not None:
                        outer.fails[name] -= 1
                try:
                    time.sleep(outer.slow)
                    if name is not None or any(self.path.endswith(n) for n in outer.broken):
                        self.send_error(503 if name is not None else 403)
                        return
                    super().do_GET()
                finally:
                    with lock:
                        outer.at_once -= 1

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def voxels():
    return values((16, 32, 48), "uint8", "remote")


@pytest.fixture
def server(tmp_path, voxels):
    cloudvolume = pytest.importorskip("cloudvolume")
    folder = tmp_path / "www"
    info = cloudvolume.CloudVolume.create_new_info(1, "image", "uint8", "raw", [4, 4, 40], [0, 0, 0], [48, 32, 16], chunk_size=[16, 16, 8])
    volume = cloudvolume.CloudVolume(f"file://{folder}/layer", info=info, compress=False, progress=False)
    volume.commit_info()
    volume[:, :, :] = voxels.transpose(2, 1, 0)
    found = Server(folder)
    yield found
    found.close()


def layer(server, **options):
    return TensorStoreReader(**options).open(LayerSource(uri=f"precomputed://{server.url}/layer"), context())


def test_only_the_chunks_under_a_box_are_asked_for(server, voxels):
    array = layer(server).array
    server.asked.clear()
    assert np.array_equal(array[2:6, 3:9, 20:30], voxels[2:6, 3:9, 20:30])
    assert [path for path in server.asked if "_" in path] == ["/layer/4_4_40/16-32_0-16_0-8"]
    assert np.array_equal(array[0:8, 0:16, 16:32], voxels[0:8, 0:16, 16:32])
    assert len(server.asked) == 1, "the chunk is cached"


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


def test_concurrency_is_bounded(server, voxels):
    server.slow = 0.05
    assert np.array_equal(layer(server, concurrency=2, cache=0).array[...], voxels)
    assert server.most <= 2


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
