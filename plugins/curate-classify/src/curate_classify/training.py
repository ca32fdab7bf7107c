"""Fitting the classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from attrs import frozen
from torch import nn

from curate_classify.augment import augmented
from curate_classify.images import normalised, scaled, to_input
from curate_classify.labels import auroc
from curate_classify.resnet import ResNet34
from curate_classify.weights import load_backbone
from curate_core import NDArray


@frozen
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the training images, at most.
        patience: passes without a better one after which it ends.
        batch: images a step.
        rate: of learning, for Adam.
        layers: parts of the network that learn; the rest stays as it is.
        size: pixels a side that the network sees.
        seed: decides weights, order and augmentation.
    """

    epochs: int = 30
    patience: int = 8
    batch: int = 64
    rate: float = 1e-3
    layers: tuple[str, ...] = ("layer4", "fc")
    size: int = 224
    seed: int = 0


@frozen
class Pass:
    """What one pass over the training images gave: its loss, and loss and AUROC on the validation images."""

    loss: float
    validation_loss: float
    auroc: float

    def better_than(self, other: Pass) -> bool:
        """By AUROC; where that is equal, by the loss, which also says how sure the network is."""
        return (self.auroc, -self.validation_loss) > (other.auroc, -other.validation_loss)


@frozen(eq=False)
class Trained:
    """What training gave.

    Attributes:
        state: parameters of the best pass.
        history: of each pass.
        best: index of the best pass.
        probability: (n,) of the validation images, in the best pass.
    """

    state: dict[str, torch.Tensor]
    history: list[Pass]
    best: int
    probability: NDArray


def fit(
    images: NDArray,
    labels: NDArray,
    train: NDArray,
    validate: NDArray,
    recipe: Recipe,
    pretrained: Path | None = None,
    device: str = "cpu",
    told: Callable[[int, Pass], None] = lambda epoch, found: None,
) -> Trained:
    """Train on some images and watch the AUROC of others.

    Args:
        images: (n, h, w) uint8.
        labels: (n,) 1 for those that should stay, 0 for those that should go.
        train, validate: rows.
        pretrained: checkpoint that the network begins with; None: drawn.
        told: called after each pass with its number and what it gave.
    """
    generator = np.random.Generator(np.random.PCG64(recipe.seed))
    model = _network(recipe, pretrained, generator).to(device)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learning, recipe.rate)
    criterion = nn.BCEWithLogitsLoss()
    target = torch.from_numpy(labels.astype(np.float32))
    history: list[Pass] = []
    best = Trained({}, history, -1, np.zeros(0))
    for epoch in range(recipe.epochs):
        _learning(model, recipe)
        losses = []
        order = generator.permutation(train)
        for rows in np.array_split(order, max(1, round(len(order) / recipe.batch))):
            seen = normalised(augmented(scaled(images[rows], recipe.size), generator)).to(device)
            optimiser.zero_grad()
            loss = criterion(model(seen)[:, 0], target[torch.from_numpy(rows)].to(device))
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        probability = predict(model, images[validate], recipe, device)
        history.append(Pass(float(np.mean(losses)), _cross_entropy(labels[validate], probability), auroc(labels[validate], probability)))
        told(epoch, history[-1])
        if best.best < 0 or history[-1].better_than(history[best.best]):
            state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
            best = Trained(state, history, epoch, probability)
        elif epoch - best.best >= recipe.patience:
            break
    return best


def predict(model: ResNet34, images: NDArray, recipe: Recipe, device: str) -> NDArray:
    """(n,) float32 probabilities of (n, h, w) uint8 images."""
    model.eval()
    with torch.inference_mode():
        found = [
            torch.sigmoid(model(to_input(images[first : first + recipe.batch], recipe.size).to(device)))[:, 0].cpu()
            for first in range(0, len(images), recipe.batch)
        ]
    return torch.cat(found).numpy()


def _cross_entropy(labels: NDArray, probability: NDArray) -> float:
    sure = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(labels == 1, np.log(sure), np.log1p(-sure))))


def _network(recipe: Recipe, pretrained: Path | None, generator: np.random.Generator) -> ResNet34:
    with torch.random.fork_rng(devices=[]):  # torch initialises from its global generator: give it back as it was
        torch.manual_seed(int(generator.integers(2**31)))
        model = ResNet34()
    if pretrained is not None:
        load_backbone(model, pretrained)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.partition(".")[0] in recipe.layers
    return model


def _learning(model: ResNet34, recipe: Recipe) -> None:
    """Frozen parts keep the statistics of their batch normalisation as well."""
    model.eval()
    for name in recipe.layers:
        model.get_submodule(name).train()
