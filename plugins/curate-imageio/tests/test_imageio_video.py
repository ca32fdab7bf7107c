"""Videos against an independent decode: av frame by frame, and imageio."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio.v3 as iio
import numpy as np
import pytest
from curate_imageio.scan import scan
from curate_imageio.video import VideoReader
from scipy.ndimage import gaussian_filter

from curate_core import LayerSource, SourceError
from curate_core.arrays import read
from curate_core.testing import context

CODECS = [
    ("a.mp4", "libx264", "yuv420p", {"g": "7", "bf": "2"}),
    ("a.mkv", "libx264", "yuv444p", {"g": "5", "bf": "3", "x264-params": "open-gop=1"}),
    ("a.mov", "mpeg4", "yuv420p", {"g": "6", "bf": "0"}),
    ("a.avi", "mpeg4", "yuv420p", {"g": "6", "bf": "2"}),
    ("b.avi", "mjpeg", "yuvj420p", {}),
    ("b.mkv", "ffv1", "bgr0", {}),
    ("c.avi", "rawvideo", "bgr24", {}),
]


def film(count: int = 40, height: int = 48, width: int = 64) -> Any:
    """(n, y, x, 3) uint8: structure that moves."""
    still = gaussian_filter(np.random.default_rng(0).standard_normal((height, width + count, 3)), (2, 2, 0))
    still = ((still - still.min()) / np.ptp(still) * 255).astype(np.uint8)
    return np.stack([still[:, i : i + width] for i in range(count)])


def noise(count: int = 40) -> Any:
    """Frames that no coder makes small: the bytes of a file spread evenly over them."""
    return np.random.default_rng(2).integers(0, 256, (count, 48, 64, 3), dtype=np.uint8)


def encode(path: Path, frames: Any, codec: str, pixel: str, options: Any, times: Any = None) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixel
        for number, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(values, "rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[number]), Fraction(1, 1000)
            for packet in stream.encode(frame.reformat(format=pixel)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def opened(path: Path, **options: Any) -> Any:
    return VideoReader(**options).open(LayerSource((path,)), context())


def by_av(path: Path) -> Any:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize(
    ("name", "codec", "pixel", "options"), [CODECS[0], *(pytest.param(*codec, marks=pytest.mark.slow) for codec in CODECS[1:])]
)
def test_frames_are_those_of_av_in_any_order(tmp_path: Path, name: str, codec: str, pixel: str, options: Any) -> None:
    path = encode(tmp_path / name, film(), codec, pixel, options)
    truth = by_av(path)
    image = opened(path)
    assert image.grid.axes == "zyxc"
    assert image.array.shape == truth.shape
    assert len(truth) == 40
    assert not image.grid.calibrated
    for start in range(0, 40, 9):
        np.testing.assert_array_equal(image.array[start : start + 9], truth[start : start + 9])
    for number in np.random.default_rng(1).permutation(40).tolist():
        np.testing.assert_array_equal(image.array[number, 3:9, :, 0], truth[number, 3:9, :, 0], err_msg=f"frame {number}")
    np.testing.assert_array_equal(read(image.array), iio.imread(path, plugin="pyav"))


def test_slabs_in_order_decode_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "a.mp4", film(), "libx264", "yuv420p", {"g": "10"})
    array = opened(path).array
    array[0]
    frames = array._array
    seeks: list[int] = []
    monkeypatch.setattr(frames, "_seek", seeks.append)
    for start in range(1, 37, 4):
        array[start : start + 4]
    assert seeks == []
    assert frames._next == 37


def test_far_frames_are_reached_from_the_key_frame_before(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", film(), "libx264", "yuv420p", {"g": "10", "sc_threshold": "0"})
    array = opened(path).array
    array[0]
    frames = array._array
    assert np.flatnonzero(frames.found.keys).tolist() == [0, 10, 20, 30]
    started: list[int] = []
    original = frames._seek
    frames._seek = lambda start: (started.append(start), original(start))
    for number in (35, 12, 3):
        array[number]
    assert started == [30, 10, 0]


def test_a_frame_lost_by_seeking_is_found_again(tmp_path: Path) -> None:
    """Some decoders give one frame less behind a seek; which one, its time tells."""
    path = encode(tmp_path / "a.mp4", film(), "libx264", "yuv420p", {"g": "10", "sc_threshold": "0"})
    truth = by_av(path)
    for lost in (3, 9):
        array = opened(path).array
        array[0]
        frames = array._array
        frames._go_to(30)
        rest = list(frames._frames)
        frames._frames = iter([frame for number, frame in enumerate(rest, 30) if number != 30 + lost])
        np.testing.assert_array_equal(array[30:40], truth[30:40])


def test_grey_stays_grey_and_deep_stays_deep(tmp_path: Path) -> None:
    grey = film()[..., 0]
    deep = grey.astype(np.uint16) * 257
    for name, values, pixel in (("g.mkv", grey, "gray"), ("d.mkv", deep, "gray16le")):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.height, stream.width, stream.pix_fmt = 48, 64, pixel
            for frame in values:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, pixel)))
            container.mux(stream.encode())
        image = opened(tmp_path / name)
        assert image.grid.axes == "zyx"
        np.testing.assert_array_equal(read(image.array), values)


def test_odd_sizes_stay(tmp_path: Path) -> None:
    """A plugin that rounds frames to multiples of 16 would hide it."""
    path = encode(tmp_path / "a.avi", film(5, 37, 51), "mpeg4", "yuv420p", {})
    assert opened(path).array.shape == (5, 37, 51, 3)
    np.testing.assert_array_equal(read(opened(path).array), by_av(path))


def test_a_varying_frame_rate_is_noted(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", film(6), "ffv1", "bgr0", {}, times=[0, 40, 80, 300, 340, 900])
    image = opened(path)
    assert image.array.shape[0] == 6
    assert image.notes["frame rate varies"] is True
    steady = opened(encode(tmp_path / "b.mkv", film(6), "ffv1", "bgr0", {}))
    assert "frame rate varies" not in steady.notes
    assert steady.notes["frame rate"] == "25"


def test_the_headers_count_is_not_trusted(tmp_path: Path) -> None:
    """An AVI header that announces fewer frames than there are."""
    path = encode(tmp_path / "a.avi", film(10), "mjpeg", "yuvj420p", {})
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"avih", 24), (b"strh", 40)):  # dwTotalFrames, dwLength
        at = content.index(mark) + offset
        assert int.from_bytes(content[at : at + 4], "little") == 10
        content[at : at + 4] = (4).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    assert opened(path).array.shape[0] == 10


@pytest.mark.parametrize(("name", "codec", "pixel", "options"), [c for c in CODECS if c[0].endswith(("avi", "mkv"))])
def test_a_video_cut_short_tells_its_frames(tmp_path: Path, name: str, codec: str, pixel: str, options: Any) -> None:
    whole = encode(tmp_path / name, noise(), codec, pixel, options)
    truth = by_av(whole)
    content = whole.read_bytes()
    path = tmp_path / f"cut-{name}"
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(SourceError, match=r"cut-.*: \d+ frames of the video can be read: .*\"truncated\": \"keep\""):
        opened(path)
    image = opened(path, truncated="keep")
    count = image.array.shape[0]
    assert 10 < count < 40
    assert image.notes["truncated"]
    np.testing.assert_array_equal(read(image.array)[: count - 3], truth[: count - 3])


def test_an_mp4_without_its_index_has_no_frames(tmp_path: Path) -> None:
    content = encode(tmp_path / "a.mp4", film(), "libx264", "yuv420p", {}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(SourceError, match=r"cut\.mp4: the video cannot be opened, so that no frame of it can be read"):
        opened(tmp_path / "cut.mp4")


def test_an_mp4_with_its_index_in_front_that_is_cut(tmp_path: Path) -> None:
    frames = noise()
    with av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for values in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, "rgb24")))
        container.mux(stream.encode())
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(SourceError, match=r"\d+ frames of the video can be read: "):
        opened(tmp_path / "cut.mp4")


def test_frames_that_change_size_are_refused(tmp_path: Path) -> None:
    """A motion JPEG whose pictures differ in size."""
    import io

    from PIL import Image

    path = encode(tmp_path / "a.avi", film(4, 48, 64), "mjpeg", "yuvj420p", {})
    content = path.read_bytes()
    at = content.rindex(b"00dc", 0, content.index(b"idx1"))
    size = int.from_bytes(content[at + 4 : at + 8], "little")
    small = io.BytesIO()
    Image.fromarray(film(1, 32, 32)[0]).save(small, "JPEG", quality=10)
    assert len(small.getvalue()) <= size
    path.write_bytes(content[: at + 8] + small.getvalue().ljust(size, b"\0") + content[at + 8 + size :])
    with pytest.raises(SourceError, match=r"frame 3 is 32 x 32 pixels, those before are 48 x 64"):
        opened(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match=r"sound\.mkv: the file has no video stream"):
        opened(path)


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    reader = VideoReader()
    assert reader.sniff(tmp_path) == "is a folder, expected a file"
    (tmp_path / "a.avi").write_text("#EXTM3U\nfile:///etc/hostname\n")
    assert reader.sniff(tmp_path / "a.avi") == "does not begin as an AVI, MP4, MOV or MKV video"
    with pytest.raises(SourceError, match="does not begin as an AVI, MP4, MOV or MKV video"):
        opened(tmp_path / "a.avi")
    with pytest.raises(SourceError, match="video reads one file a layer, got 2"):
        reader.open(LayerSource((tmp_path / "a.avi", tmp_path / "b.avi")), context())


def test_a_video_that_changes_is_noticed(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.avi", film(20), "mjpeg", "yuvj420p", {})
    image = opened(path)
    encode(path, film(5), "mjpeg", "yuvj420p", {})
    with pytest.raises(SourceError, match="frame 0 cannot be decoded, where 20 were counted"):
        read(image.array)


@pytest.mark.slow
def test_memory_stays_that_of_a_slab(tmp_path: Path) -> None:
    """Frames that were read are not kept."""
    import gc
    import tracemalloc

    path = encode(tmp_path / "a.mp4", film(120, 256, 256), "libx264", "yuv420p", {"g": "30"})
    array = opened(path).array
    array[0]
    gc.collect()
    tracemalloc.start()
    for start in range(0, 120, 4):
        array[start : start + 4]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 256 * 256 * 3


def test_scans_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.avi", film(4), "mjpeg", "yuvj420p", {})
    assert scan(path) is scan(path)
    encode(path, film(6), "mjpeg", "yuvj420p", {})
    assert scan(path).count == 6


def test_an_unknown_coding_is_named(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.avi", film(4), "mjpeg", "yuvj420p", {})
    content = path.read_bytes()
    assert content.count(b"MJPG") >= 2
    path.write_bytes(content.replace(b"MJPG", b"Zz9?"))
    with pytest.raises(SourceError, match=r"a\.avi: the video is coded in a way that is not known here"):
        opened(path)


@pytest.mark.parametrize(("name", "codec", "pixel", "options"), CODECS)
def test_damage_anywhere_is_a_source_error_or_frames(tmp_path: Path, name: str, codec: str, pixel: str, options: Any) -> None:
    content = np.frombuffer(encode(tmp_path / name, film(8, 32, 32), codec, pixel, options).read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    path = tmp_path / f"damaged-{name}"
    for number in range(30):
        damaged = content.copy()
        places = rng.integers(0, 400 if number % 2 else len(content), 4).clip(max=len(content) - 1)
        damaged[places] = rng.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        try:
            assert read(opened(path, truncated="keep").array).ndim in (3, 4)
        except SourceError as error:
            assert path.name in str(error)  # noqa: PT017


def test_a_title_that_is_no_utf_8_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "XXXXYYYY"
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(film(1)[0], "rgb24").reformat(format="yuvj420p")), *stream.encode()]:
            container.mux(packet)
    content = path.read_bytes()
    assert content.count(b"XXXXYYYY") == 1
    path.write_bytes(content.replace(b"XXXXYYYY", b"XX\xe9\xffYYYY"))
    assert opened(path).array.shape == (1, 48, 64, 3)
