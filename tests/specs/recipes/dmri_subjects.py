"""What the recipes of diffusion MRI share: three subjects with a DWI of five volumes, T1, FA, masks, labels, and bundles as .trk and .tck."""

import warnings

import nibabel
import numpy as np
from nibabel.streamlines import Field, TckFile, Tractogram, TrkFile

SHAPE = (14, 12, 10)
AFFINE = np.array([[-2.0, 0.1, 0, 20], [0.1, 2.0, 0, -15], [0, 0, 2.5, -30], [0, 0, 0, 1]])
SPLITS = {"training": ["s2", "s10"], "validation": ["s1"], "testing": []}


def lines(rng, count, outside=0):
    """Random walks in the world; the last ``outside`` leave the volume."""
    made = []
    for i in range(count):
        steps = np.cumsum(rng.normal(0, 0.25, (int(rng.integers(2, 30)), 3)), axis=0)
        inside = np.clip(rng.uniform(4, 7, 3) + steps, 0.1, np.array(SHAPE) - 1.1)
        if i >= count - outside:
            inside[-1] = [-3, 2, 2]
        made.append(nibabel.affines.apply_affine(AFFINE, inside).astype(np.float32))
    return made


def save_trk(path, streamlines, affine=AFFINE, shape=SHAPE, **data):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {
        Field.VOXEL_TO_RASMM: affine.astype("f4"), Field.DIMENSIONS: shape, Field.VOXEL_ORDER: "".join(nibabel.aff2axcodes(affine)),
        Field.VOXEL_SIZES: np.linalg.norm(affine[:3, :3], axis=0).astype("f4"),
    }  # fmt: skip
    TrkFile(Tractogram(streamlines, affine_to_rasmm=np.eye(4), **data), header).save(str(path))


def save_tck(path, streamlines):
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TckFile(Tractogram(streamlines, affine_to_rasmm=np.eye(4))).save(str(path))


def save_volume(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def subjects(folder, outside=1):
    """Write them, and return the settings that lead there."""
    root = folder / "database" / "dwi_ml_ready"
    for split, names in SPLITS.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            rng = np.random.default_rng(int(name[1:]))
            place = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
            brain = (place**2).sum(0) < 0.9
            here = root / name
            save_volume(here / "dwi/dwi_tractoflow.nii.gz", (brain[..., None] * rng.integers(50, 900, (*SHAPE, 5))).astype(np.int16))
            save_volume(here / "anat/t1_tractoflow.nii.gz", (brain * rng.uniform(0, 1, SHAPE)).astype(np.float32))
            save_volume(here / "dwi/fa.nii.gz", (brain * rng.uniform(0, 1, SHAPE)).astype(np.float64))
            save_volume(here / "masks/wm.nii.gz", (brain & (place[0] > -0.2)).astype(np.uint8))
            save_volume(here / "connectivity/labels.nii.gz", (brain * rng.choice([0, 3, 7, 1001], SHAPE)).astype(np.int16))
            np.save(here / "connectivity/matrix.npy", rng.integers(0, 2, (3, 3)))
            colour = rng.uniform(0, 1, (20, 1)).astype(np.float32)
            save_trk(here / "bundles/AF_L.trk", lines(rng, 20, outside), data_per_streamline={"mean_color": colour})
            save_tck(here / "bundles/CST.tck", lines(rng, 9))
    lists = [f"source.splits.{split}={folder / split}.txt" for split in SPLITS]
    return [f"source.root={folder / 'database'}", *lists]
