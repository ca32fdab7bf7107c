"""The classifier's weights: from a file, or downloaded once.

The published ones are ``patch_quality_classifier_nn.pth`` of Zenodo record 6458015 (Conrad and Narayan, 2021). Their publisher gives no
checksum: the one seen at the first download is kept beside the file, and a file that differs from it later is refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate_core import RequestError

if TYPE_CHECKING:
    from curate_classify.resnet import ResNet34

PUBLISHED = "https://zenodo.org/records/6458015/files/patch_quality_classifier_nn.pth"


def fetch(url: str, sha256: str | None, cache: Path | None = None) -> Path:
    """The file behind an address, downloaded at the first call.

    Args:
        url: where it is published.
        sha256: its checksum, where that is known.
        cache: folder to keep it in; None: the user's cache folder.

    Raises:
        RequestError: it cannot be downloaded, or is not the file that it was.
    """
    import pooch

    folder = Path(pooch.os_cache("curate")) if cache is None else cache
    name = url.rpartition("/")[2].partition("?")[0] or "weights.pth"
    seen = folder / f"{name}.sha256"
    known = sha256 or (seen.read_text(encoding="ascii").split()[0] if seen.exists() else None)
    try:
        file = Path(pooch.retrieve(url, known_hash=known, fname=name, path=folder, progressbar=False))
    except ValueError as error:
        message = f"the weights at {url} are not those that were seen before: {error}"
        raise RequestError(message, where=str(folder / name), hint=f"if that is meant, remove {seen}") from error
    except Exception as error:  # whatever a network does
        message = f"the weights cannot be downloaded from {url}: {error}"
        raise RequestError(message, hint='download them by other means and name the file as "weights"') from error
    if known is None:
        seen.write_text(f"{hashlib.sha256(file.read_bytes()).hexdigest()}\n", encoding="ascii")
    return file


def load_state(file: Path) -> dict[str, Any]:
    """Parameter name -> tensor, from a PyTorch file; nothing in it is executed.

    Raises:
        RequestError: it is no such file.
    """
    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, unpickler, torch: damaged files raise all kinds
        message = f"this is no file of PyTorch weights: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        raise RequestError(message, where=str(file)) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        message = "this file holds no parameters by name"
        raise RequestError(message, where=str(file))
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_model(file: Path) -> ResNet34:
    """The classifier with the weights of a file, ready to judge.

    Raises:
        RequestError: they are not those of a ResNet34 with one output.
    """
    from curate_classify.resnet import ResNet34

    model = ResNet34()
    try:
        model.load_state_dict(load_state(file))
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        message = f"these are not the weights of a ResNet34 with one output: {detail}"
        raise RequestError(message, where=str(file), hint="curate train-classifier makes such weights") from error
    return model.eval()


def load_backbone(model: ResNet34, file: Path) -> None:
    """Take all but the last layer from a checkpoint, for instance one that was trained on ImageNet with 1000 outputs.

    Raises:
        RequestError: it is not a ResNet34's.
    """
    state = {name: value for name, value in load_state(file).items() if not name.startswith("fc.")}
    wanted = {name: value.shape for name, value in model.state_dict().items() if not name.startswith("fc.")}
    wrong = sorted(name for name in wanted | state if name not in state or name not in wanted or state[name].shape != wanted[name])
    if wrong:
        message = f"these are not the weights of a ResNet34: {len(wrong)} parameters differ, {wrong[0]} among them"
        raise RequestError(message, where=str(file))
    model.load_state_dict(state, strict=False)
