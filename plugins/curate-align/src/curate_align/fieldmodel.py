"""Fields by a trained model that the user brings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import frozen

from curate_align.generating import FieldGenerator
from curate_core import NDArray, RequestError, StepError, Worker, option

_SUFFIXES = (".pt2", ".pt", ".ts")


@frozen
class ModelField(FieldGenerator):
    """Makes fields with a model: an exported program of PyTorch (``.pt2``), or TorchScript (``.pt``, ``.ts``).

    The model is called as metroem's are trained, on arrays as their files have them: with ``src`` and ``tgt``, (1, 1, x, y), and the
    previous field, (1, 2, x, y), zeros where there is none, all float32; it returns the field, (1, 2, x, y). Vectors are in pixels, channel
    0 along y, the last axis, and channel 1 along x, as torchfields counts components. ``model`` is the file, or a folder with
    ``<stage>/<checkpoint_name>.pt2`` (or ``.pt``, ``.ts``). Loading a model runs its code: use those that you trust. Needs PyTorch.

    Example::

        "transform": [{"use": "field-model", "model": "aligner", "stage": 1, "checkpoint_name": "test", "src_mip": 6, "dst_mip": 4}]
    """

    version: ClassVar[int] = 1
    model: Path = option(doc="File of the model, or the folder of its stages.", default=Path("model.pt2"), content=True)
    stage: int | None = option(doc="Which stage of the folder.", default=None, ge=0)
    checkpoint_name: str | None = option(doc="Which checkpoint of the stage.", default=None, min_length=1)
    device: str = option(doc='"auto": the worker\'s own accelerator, or any; else a name such as "cpu" or "cuda:1".', default="auto")

    def file(self) -> Path:
        """The file of the model.

        Raises:
            RequestError: there is none, or the folder needs a stage and a checkpoint.
        """
        if not self.model.is_dir():
            if self.model.exists():
                return self.model
            message = "there is no such model"
            raise RequestError(message, where=str(self.model))
        if self.stage is None or self.checkpoint_name is None:
            message = "the model is a folder, of which stage and checkpoint_name choose a file"
            raise RequestError(message, where=str(self.model), hint='such as "stage": 1, "checkpoint_name": "test"')
        stem = self.model / str(self.stage) / self.checkpoint_name
        found = [path for suffix in _SUFFIXES if (path := stem.with_name(stem.name + suffix)).exists()]
        if not found:
            message = f"there is no checkpoint {self.checkpoint_name!r} of stage {self.stage}"
            there = ", ".join(sorted(str(path.relative_to(self.model)) for path in self.model.glob("*/*"))[:12])
            raise RequestError(message, where=str(stem), hint=f"the folder has {there or 'none'}; files end in {', '.join(_SUFFIXES)}")
        return found[0]

    def needs(self) -> Mapping[str, float]:
        return {} if self.device == "cpu" else {"gpu": 1}

    def setup(self, worker: Worker) -> Any:
        file = self.file()
        try:
            import torch
        except ImportError as error:
            message = "models need PyTorch, which is not installed"
            raise RequestError(message, where=str(file), hint="pip install 'curate-align[torch]'") from error
        if worker.index:
            torch.set_num_threads(1)  # workers share the cores; the result does not depend on it
        name = self.device if self.device != "auto" else worker.device
        if name == "cpu" and self.device == "auto" and torch.cuda.is_available():
            name = "cuda"
        try:
            if file.suffix == ".pt2":
                model = torch.export.load(file).module()
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is on its way out; files of it are not
                    model = torch.jit.load(file, map_location="cpu").eval()
        except Exception as error:  # what a file that is none raises is endless
            message = f"this is no model that can be loaded: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
            hint = "export it with torch.export.save (.pt2) or torch.jit.save (.pt, .ts)"
            raise RequestError(message, where=str(file), hint=hint) from error
        return model.to(name), name

    def field(self, src: NDArray, tgt: NDArray, previous: NDArray | None, state: Any) -> NDArray:
        import torch

        model, device = state
        earlier = np.zeros((2, *src.shape), np.float32) if previous is None else previous
        stored = (values.swapaxes(-1, -2) for values in (src[None], tgt[None], earlier))
        given = [torch.from_numpy(np.ascontiguousarray(values))[None].to(device) for values in stored]
        try:
            with torch.inference_mode():
                found = model(*given)
        except MemoryError:
            raise
        except Exception as error:  # a model is a stranger's code
            message = f"the model fails for images of {src.shape}: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise StepError(message, hint="it is called with src and tgt, (1, 1, x, y), and a field, (1, 2, x, y)") from error
        if not isinstance(found, torch.Tensor) or found.ndim != 4 or len(found) != 1:
            shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            message = f"the model returned {shape}, expected a field (1, 2, x, y)"
            raise StepError(message)
        return np.asarray(found[0].float().cpu().numpy()).swapaxes(-1, -2)
