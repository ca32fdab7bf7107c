"""The components against the kit: the source, the importer, the reader of the file, and the steps on streamlines and volumes."""

import json
import zipfile
from typing import ClassVar

import h5py
import nibabel
import numpy as np
from curate_dmri.connectivity import Connectivity
from curate_dmri.hdf5_reader import DwiMlReader
from curate_dmri.importer import DwiMl
from curate_dmri.reader import TractogramReader
from curate_dmri.source import SubjectsSource
from curate_dmri.standardize import Standardize
from curate_dmri.streamlines import CompressStreamlines, RemoveInvalid, ResampleStreamlines
from nibabel.streamlines import Field, TckFile, TrkFile

from curate_core import Case, Grid, Image, LayerSource, Tractogram
from curate_core.testing import ImporterTests, PreprocessorTests, ReaderTests, SourceTests, TractogramReaderTests, make_image, values


class TestSubjectsSource(SourceTests):
    component = SubjectsSource
    options: ClassVar = {"layers": {"dwi": {"files": ["dwi/*.nii.gz"]}, "lines": {"files": ["bundles/*.{trk,tck}"]}}}
    cases = ("s10", "s2", "s1")  # the order of the lists

    def make_files(self, folder):
        for name in ("s1", "s2", "s10"):
            for file in ("dwi/dwi.nii.gz", "bundles/AF.trk", "bundles/b10.tck"):
                path = folder / "database" / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        (folder / "train.txt").write_text("s10\ns2\n")
        (folder / "valid.txt").write_text("s1\n")
        splits = {"training": str(folder / "train.txt"), "validation": str(folder / "valid.txt")}
        return {"root": str(folder / "database"), "splits": splits}


class TestDwiMl(ImporterTests):
    component = DwiMl
    options: ClassVar = {"training_subjs": "train.txt", "validation_subjs": "valid.txt", "bundles": ["AF.trk"], "step_size": 0.5}
    text = json.dumps({"input": {"type": "volume", "files": ["dwi/dwi.nii.gz"]}})
    needs = ("curate-hdf5", "curate-nifti")


class TestDwiMlReader(ReaderTests):
    """Volumes, written by h5py after the layout's description."""

    component = DwiMlReader
    options: ClassVar = {"group": "s1/input"}
    suffix = ".hdf5"
    axes = "xyzc"
    shape = (7, 5, 4, 3)
    big_shape = (128, 128, 64, 4)
    dtypes = ("float32",)
    spacing = (2.0, 1.5, 0.75)
    unit = "mm"

    def make_file(self, folder, array, spacing):
        path = folder / "subjects.hdf5"
        with h5py.File(path, "w") as file:
            file.attrs.update({"version": 3, "training_subjs": ["s1"], "validation_subjs": []})
            group = file.create_group("s1/input")
            group["data"] = array
            affine = np.diag([*spacing, 1.0])
            group.attrs.update({"type": "volume", "affine": affine, "voxres": spacing, "nb_features": array.shape[3]})
        return path


class TestTrk(TractogramReaderTests):
    """Files of nibabel."""

    component = TractogramReader
    suffix = ".trk"
    per_streamline: ClassVar = {"colour": 3}
    per_point: ClassVar = {"fa": 1}

    def make_file(self, folder, lines):
        path = folder / "lines.trk"
        header = {
            Field.VOXEL_TO_RASMM: lines.grid.affine.astype("f4"),
            Field.DIMENSIONS: lines.grid.shape,
            Field.VOXEL_SIZES: np.linalg.norm(lines.grid.affine[:3, :3], axis=0),
            Field.VOXEL_ORDER: "".join(nibabel.aff2axcodes(lines.grid.affine)),
        }
        by_point = {"fa": [lines.per_point["fa"][start : start + n] for start, n in zip(lines.offsets, lines.lengths, strict=True)]}
        data = {"data_per_point": by_point, "data_per_streamline": lines.per_streamline} if len(lines) else {}
        streamlines = streamlines_of(lines)
        TrkFile(nibabel.streamlines.Tractogram(streamlines, affine_to_rasmm=np.eye(4), **data), header).save(str(path))
        return path


class TestTck(TractogramReaderTests):
    """Files of nibabel, with the grid of a volume beside them."""

    component = TractogramReader
    suffix = ".tck"

    def source(self, path):
        return LayerSource((path,), options={"reference": str(path.with_name("reference.nii"))})

    def make_file(self, folder, lines):
        path = folder / "lines.tck"
        nibabel.save(nibabel.Nifti1Image(np.zeros(lines.grid.shape, np.uint8), lines.grid.affine), folder / "reference.nii")
        TckFile(nibabel.streamlines.Tractogram(streamlines_of(lines), affine_to_rasmm=np.eye(4))).save(str(path))
        return path


class TestTrx(TractogramReaderTests):
    """Archives by hand, after the format's description."""

    component = TractogramReader
    suffix = ".trx"
    per_streamline: ClassVar = {"colour": 3}
    per_point: ClassVar = {"fa": 1}
    tolerance = 0.0

    def make_file(self, folder, lines):
        path = folder / "lines.trx"
        counts = {"NB_VERTICES": len(lines.points), "NB_STREAMLINES": len(lines)}
        header = {**counts, "DIMENSIONS": lines.grid.shape, "VOXEL_TO_RASMM": lines.grid.affine.tolist()}
        arrays = {"positions.3.float32": lines.points, "offsets.uint64": np.append(lines.offsets, len(lines.points)).astype("<u8")}
        arrays |= {"dps/colour.3.float32": lines.per_streamline["colour"], "dpv/fa.float32": lines.per_point["fa"]}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("header.json", json.dumps(header))
            for name, array in arrays.items():
                archive.writestr(name, array.tobytes())
        return path


class TestStreamlinesOfDwiMl(TractogramReaderTests):
    """A group of a file that h5py writes after the layout's description: points in the world, from the corner of the first voxel."""

    component = DwiMlReader
    options: ClassVar = {"group": "s1/lines"}
    suffix = ".hdf5"
    per_streamline: ClassVar = {"colour": 3}
    memory_mapped = True

    def make_file(self, folder, lines):
        path = folder / "subjects.hdf5"
        affine = lines.grid.affine
        with h5py.File(path, "w") as file:
            file.attrs.update({"version": 3, "training_subjs": ["s1"], "validation_subjs": []})
            group = file.create_group("s1/lines")
            group["data"] = (lines.points + affine[:3, :3] @ [0.5, 0.5, 0.5]).astype("f4")
            group["offsets"], group["lengths"] = lines.offsets, lines.lengths
            group["euclidean_lengths"] = np.array(
                [np.linalg.norm(np.diff(line, axis=0), axis=1).sum() for line in streamlines_of(lines)], "f4"
            )
            group["data_per_streamline/colour"] = lines.per_streamline["colour"]
            group.attrs.update({
                "type": "streamlines", "space": "Space.RASMM", "origin": "Origin.TRACKVIS", "affine": affine,
                "dimensions": np.array(lines.grid.shape, "i2"), "voxel_sizes": np.linalg.norm(affine[:3, :3], axis=0).astype("f4"),
                "voxel_order": "".join(nibabel.aff2axcodes(affine)),
            })  # fmt: skip
        return path


def streamlines_of(lines):
    return [lines.streamline(i) for i in range(len(lines))]


GRID = Grid((14, 12, 10), "xyz", np.array([[-2.0, 0.2, 0, 20], [0.1, 2.5, 0, -15], [0, 0, 3, -30], [0, 0, 0, 1]]), "mm", oriented=True)


class OfStreamlines(PreprocessorTests):
    """A case of a tractogram with data of its streamlines, one of which leaves the volume."""

    def case(self):
        rng = np.random.default_rng(0)
        lines = [np.cumsum(rng.normal(0, 0.4, (n, 3)), axis=0) + GRID.affine[:3] @ [7, 6, 5, 1] for n in (5, 30, 2, 60)]
        lines[2] += 500
        lengths = np.array([len(line) for line in lines], np.int64)
        points = np.concatenate(lines).astype(np.float32)
        points.setflags(write=False)
        offsets = np.cumsum(lengths) - lengths
        return Case("s1", {"lines": Tractogram(points, offsets, lengths, GRID, {"weight": np.arange(4.0)[:, None]})})


class TestResampleStreamlines(OfStreamlines):
    component = ResampleStreamlines
    options: ClassVar = {"layer": "lines", "step_size": 0.5}


class TestPointsOfStreamlines(OfStreamlines):
    component = ResampleStreamlines
    options: ClassVar = {"layer": "lines", "points": 9}


class TestCompressStreamlines(OfStreamlines):
    component = CompressStreamlines
    options: ClassVar = {"layer": "lines", "tolerance": 0.2}


class TestRemoveInvalid(OfStreamlines):
    component = RemoveInvalid
    options: ClassVar = {"layer": "lines"}


class TestConnectivity(OfStreamlines):
    component = Connectivity
    options: ClassVar = {"layer": "lines", "matrix": "matrix", "blocs": 2}
    lazy = False  # the matrix is held against the regions

    def case(self):
        return super().case().with_layers({"matrix": make_image(values((8, 8), "uint8"), "yx")})


class TestConnectivityOfLabels(TestConnectivity):
    options: ClassVar = {"layer": "lines", "matrix": "matrix", "labels": "atlas"}

    def case(self):
        atlas = np.zeros(GRID.shape, np.int32)
        atlas.flat[:8] = range(1, 9)
        return super().case().with_layers({"atlas": Image(atlas, GRID)})


class TestStandardize(PreprocessorTests):
    component = Standardize
    options: ClassVar = {"layer": "image", "over": "feature"}
    axes = "zyxc"
    shape = (5, 7, 11, 3)
    dtype = "int16"


class TestStandardizeWithinAMask(PreprocessorTests):
    component = Standardize
    options: ClassVar = {"layer": "image", "over": "layer", "mask": "mask"}
    dtype = "float32"

    def case(self):
        case = super().case()
        return case.with_layers({"mask": make_image(values(self.shape, "bool"), self.axes, self.spacing)})
