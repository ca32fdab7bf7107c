"""Weights from files and from a server; nothing in them is executed."""

import functools
import http.server
import os
import threading

import pytest
import torch
from curate_classify.resnet import ResNet34
from curate_classify.weights import PUBLISHED, fetch, load_backbone, load_model, load_state

from curate_core import RequestError


def test_published_weights_have_an_address():
    assert PUBLISHED.startswith("https://zenodo.org/records/6458015/")
    assert PUBLISHED.endswith("/patch_quality_classifier_nn.pth")


def test_names_may_come_from_parallel_training(weights, tmp_path):
    state = load_state(weights)
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "parallel.pth")
    assert all(torch.equal(a, b) for a, b in zip(load_model(tmp_path / "parallel.pth").state_dict().values(), state.values(), strict=True))


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_is_executed(tmp_path):
    torch.save({"conv1.weight": Bomb(tmp_path / "exploded")}, tmp_path / "bomb.pth")
    with pytest.raises(RequestError, match="this is no file of PyTorch weights"):
        load_model(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


def test_other_files_are_refused(weights, tmp_path):
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(RequestError, match=r"text.pth: this is no file of PyTorch weights"):
        load_model(tmp_path / "text.pth")
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(RequestError, match="this is no file of PyTorch weights"):
        load_model(tmp_path / "cut.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(RequestError, match="this file holds no parameters by name"):
        load_model(tmp_path / "list.pth")
    torch.save({"fc.weight": torch.zeros(1000, 512)}, tmp_path / "few.pth")
    with pytest.raises(RequestError, match=r"not the weights of a ResNet34 with one output.*curate train-classifier makes such"):
        load_model(tmp_path / "few.pth")


def test_a_backbone_may_have_another_last_layer(weights, tmp_path):
    state = {**load_state(weights), "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "imagenet.pth")
    model = ResNet34()
    last = model.fc.weight.clone()
    load_backbone(model, tmp_path / "imagenet.pth")
    assert torch.equal(model.conv1.weight, state["conv1.weight"])
    assert torch.equal(model.fc.weight, last)
    del state["layer4.2.conv1.weight"]
    torch.save(state, tmp_path / "imagenet.pth")
    with pytest.raises(RequestError, match=r"not the weights of a ResNet34: 1 parameters differ, layer4.2.conv1.weight among them"):
        load_backbone(model, tmp_path / "imagenet.pth")


@pytest.fixture
def server(tmp_path):
    (tmp_path / "www").mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=tmp_path / "www")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}/w.pth", tmp_path / "www" / "w.pth", asked
        found.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_weights_are_downloaded_once_and_a_change_is_refused(server, tmp_path):
    url, published, asked = server
    published.write_bytes(b"first")
    file = fetch(url, None, tmp_path / "cache")
    assert file.read_bytes() == b"first"
    assert fetch(url, None, tmp_path / "cache") == file
    assert len(asked) == 1
    file.unlink()
    published.write_bytes(b"second")
    with pytest.raises(RequestError, match=r"are not those that were seen before.*if that is meant, remove .*w.pth.sha256"):
        fetch(url, None, tmp_path / "cache")
    with pytest.raises(RequestError, match="are not those that were seen before"):
        fetch(url, "0" * 64, tmp_path / "other")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_download_that_fails_says_what_else_can_be_done(server, tmp_path):
    url, _, _ = server
    with pytest.raises(RequestError, match=r'the weights cannot be downloaded from .*name the file as "weights"'):
        fetch(url, None, tmp_path / "cache")
