"""``curate train-classifier``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from curate_core import Command, Dataset, NDArray, RequestError

LEAST = 64


@frozen
class TrainClassifier(Command):
    """Train the informative-patch classifier on labelled samples of a dataset.

    Example::

        curate train-classifier out/patches --labels labels.csv -o informative --pretrained resnet34.pth
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "dataset", metavar="DATASET", type=Path, help="folder of a finished dataset, or a spec, whose samples are labelled"
        )
        parser.add_argument(
            "--labels", metavar="FILE", type=Path, required=True, help="CSV of id and label (good, bad, none), or .npy of labels"
        )
        parser.add_argument("-o", dest="output", metavar="DIR", type=Path, required=True, help="folder for weights.pth and the report")
        parser.add_argument("--pretrained", metavar="FILE", type=Path, help="ResNet34 checkpoint to begin with, such as ImageNet's")
        parser.add_argument("--epochs", metavar="N", type=int, default=30, help="passes over the images, at most (30)")
        parser.add_argument("--patience", metavar="N", type=int, default=8, help="passes without a better one before it ends (8)")
        parser.add_argument("--batch", metavar="N", type=int, default=64, help="images a step (64)")
        parser.add_argument("--rate", metavar="X", type=float, default=1e-3, help="learning rate of Adam (0.001)")
        parser.add_argument("--learn", metavar="LAYERS", default="layer4,fc", help="parts that learn, or all (layer4,fc)")
        parser.add_argument("--size", metavar="N", type=int, default=224, help="pixels a side that the network sees (224)")
        parser.add_argument("--validate", metavar="SHARE", type=float, default=0.15, help="share of the labels to validate with (0.15)")
        parser.add_argument(
            "--threshold", metavar="P", type=float, default=0.5, help="probability above which a patch counts as good (0.5)"
        )
        parser.add_argument("--seed", metavar="N", type=int, default=0, help="decides split, order and augmentation (0)")
        parser.add_argument("--device", metavar="NAME", default="auto", help="cpu, cuda, ...; auto: an accelerator if there is one")

    def run(self, arguments: argparse.Namespace) -> int:
        import curate_core
        from curate_classify.labels import auroc, read_labels, split_by_source

        output: Path = arguments.output
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            message = "the output folder is there already, and not empty"
            raise RequestError(message, where=str(output), hint="choose another")
        recipe = _recipe(arguments)
        dataset = curate_core.open(arguments.dataset)
        rows = list(dataset.rows())
        ids = [row["id"] for row in rows]
        labels = read_labels(arguments.labels, ids)
        if np.sum(labels >= 0) < LEAST or min(np.sum(labels == 0), np.sum(labels == 1)) < 2:
            found = f"{np.sum(labels == 1)} good and {np.sum(labels == 0)} bad"
            message = f"at least {LEAST} labels are needed, some of each kind; these are {found}"
            raise RequestError(message, where=str(arguments.labels))
        chosen = np.flatnonzero(labels >= 0)
        images, labels = _images(dataset, chosen, recipe.size), labels[chosen]
        generator = np.random.Generator(np.random.PCG64([arguments.seed, 1]))
        train, validate = split_by_source(labels, [rows[i]["case"] for i in chosen.tolist()], arguments.validate, generator)
        for side, part in (("train on", train), ("validate with", validate)):
            if len(set(labels[part].tolist())) < 2:
                message = f"with sources kept apart, the samples to {side} would all have one label"
                raise RequestError(
                    message, where=str(arguments.labels), hint="label samples of more sources, or change --validate or --seed"
                )
        import torch

        from curate_classify.report import write_report
        from curate_classify.training import fit

        device = arguments.device if arguments.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        trained = fit(images, labels, train, validate, recipe, arguments.pretrained, device, _tell)
        output.mkdir(parents=True, exist_ok=True)
        torch.save(trained.state, output / "weights.pth")
        truth, stays = labels[validate], trained.probability > arguments.threshold
        metrics: dict[str, Any] = {
            "auroc": auroc(truth, trained.probability),
            "accuracy": float(np.mean(stays == (truth == 1))),
            "threshold": arguments.threshold,
            "good kept": float(np.mean(stays[truth == 1])),
            "bad kept": float(np.mean(stays[truth == 0])),
            "best pass": trained.best + 1,
            "history": [attrs.asdict(one) for one in trained.history],
            "samples": {"train": len(train), "validate": len(validate)},
            "sources": {"validate": sorted({rows[i]["case"] for i in chosen[validate].tolist()})},
        }
        write_report(output, metrics, truth, trained.probability, images[validate], [ids[i] for i in chosen[validate].tolist()])
        print(f"AUROC {metrics['auroc']:.3f} on {len(validate)} samples of other sources, after pass {trained.best + 1}")  # noqa: T201
        print(f'  use it    {{"use": "informative-patch", "weights": "{output / "weights.pth"}"}}')  # noqa: T201
        print(f"  look at   {output / 'roc.png'} and {output / 'worst.png'}, the worst errors")  # noqa: T201
        return 0


def _recipe(arguments: argparse.Namespace) -> Any:
    from curate_classify.training import Recipe

    parts = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc")
    layers = parts if arguments.learn == "all" else tuple(arguments.learn.split(","))
    unknown = [layer for layer in layers if layer not in parts]
    if unknown:
        message = f"the network has no part {unknown[0]!r}"
        raise RequestError(message, where="--learn", hint=f"its parts are {', '.join(parts)}; or write all")
    for name, low in (("epochs", 1), ("patience", 1), ("batch", 2), ("size", 32), ("seed", 0)):
        if getattr(arguments, name) < low:
            message = f"{getattr(arguments, name)} is less than {low}"
            raise RequestError(message, where=f"--{name}")
    if not 0 < arguments.validate < 1:
        message = f"{arguments.validate} is no share between 0 and 1"
        raise RequestError(message, where="--validate")
    return Recipe(arguments.epochs, arguments.patience, arguments.batch, arguments.rate, layers, arguments.size, arguments.seed)


def _images(dataset: Dataset, rows: NDArray, size: int) -> NDArray:
    """(n, h, w) uint8 of samples that may differ in shape: those that do are resized to ``size``."""
    from curate_classify.images import grey_images, scaled

    found = []
    for row in rows.tolist():
        arrays = dataset[row]
        if len(arrays) != 1:
            message = f"sample {row} has the arrays {', '.join(arrays)}: the classifier sees samples of one"
            raise RequestError(message, where=str(dataset.path))
        found.append(grey_images(np.asarray(next(iter(arrays.values())))[None], dataset.row(row)["id"])[0])
    if len({image.shape for image in found}) > 1:
        found = [(scaled(image[None], size)[0, 0] * 255).round().to("cpu").numpy().astype(np.uint8) for image in found]
    return np.stack(found)


def _tell(epoch: int, found: Any) -> None:
    losses = f"loss {found.loss:.4f}, {found.validation_loss:.4f} on the validation samples"
    print(f"pass {epoch + 1}: {losses}, AUROC {found.auroc:.3f}", flush=True)  # noqa: T201
