"""A server of this machine with a layer that cloud-volume wrote."""

import functools
import http.server
import threading
import time

import pytest

from curate_core.testing import values


class Server:
    """Serves a folder; ``fails[path]`` requests for what ends so are refused first, ``broken`` paths always."""

    def __init__(self, folder):
        self.fails, self.broken, self.slow = {}, (), 0.0
        self.asked, self.at_once, self.most = [], 0, 0
        self.folder = folder
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

    def chunks(self):
        """Names of the chunks that were asked for since this was last called."""
        found = [path.rpartition("/")[2] for path in self.asked if path.count("_") > 2]
        self.asked.clear()
        return found

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
