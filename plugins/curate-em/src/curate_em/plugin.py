"""What curate-em offers."""

from __future__ import annotations

from collections.abc import Iterator

from curate_core import Provider, hookimpl

CURATE_HOOK_API = 1


@hookimpl
def curate_register_roi_finders() -> Iterator[Provider]:
    """Patches and cubes of volumes."""
    yield Provider("roi_finder", "em-sections", "Patches of xy, xz and yz sections, as CEM500K cut them.", "curate_em.sections:EmSections")
    yield Provider("roi_finder", "around-patches", "Flipbooks and subvolumes around patches cut earlier.", "curate_em.around:AroundPatches")
    yield Provider(
        "roi_finder", "sparse-cubes", "Cubes at random places of a volume too large to take whole.", "curate_em.cubes:SparseCubes"
    )


@hookimpl
def curate_register_transforms() -> Iterator[Provider]:
    """What is cut along any axis, lying alike."""
    yield Provider("transform", "section-first", "Puts the axis across a sample's plane in front.", "curate_em.around:SectionFirst")


@hookimpl
def curate_register_filters() -> Iterator[Provider]:
    """What a training set holds often enough, has no room for, or learns nothing from."""
    summary = "Drops samples that look like another, by difference hash."
    yield Provider("filter", "near-duplicates", summary, "curate_em.duplicates:NearDuplicates")
    yield Provider("filter", "total-gb", "Keeps a seeded choice of so many gigabytes.", "curate_em.budget:TotalGigabytes")
    yield Provider("filter", "structure", "Drops blank and noisy patches.", "curate_em.structure:Structure")
