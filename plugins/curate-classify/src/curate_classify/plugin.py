"""What curate-classify offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_filters() -> Iterator[Provider]:
    """The informative-patch classifier."""
    summary = "Keeps patches that a ResNet34 calls informative."
    yield Provider("filter", "informative-patch", summary, "curate_classify.informative:InformativePatch")


@hookimpl
def curate_register_commands() -> Iterator[Provider]:
    """Its training."""
    summary = "Train the informative-patch classifier on labelled samples."
    yield Provider("command", "train-classifier", summary, "curate_classify.command:TrainClassifier")
