import subprocess
import sys
import textwrap
import weakref
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as Pictures

from agentflow.core.errors import InvalidInputError, StorageError
from agentflow.worldmodel import video

LEFT, RIGHT = (52, 106, 196), (205, 62, 52)


def two_colours(height: int = 48, width: int = 64) -> np.ndarray:
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = LEFT, RIGHT
    return image


def test_a_written_video_is_h264_of_that_length_and_size_and_colour(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    written = video.write_mp4((two_colours() for _ in range(20)), path, fps=25)
    assert written == video.VideoInfo(20, 64, 48, 25.0, 0.8, path.stat().st_size)
    assert video.read_info(path) == written
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 20
    for frame in (frames[0], frames[-1]):
        assert np.abs(frame[24, 8].astype(int) - LEFT).max() <= 6
        assert np.abs(frame[24, 56].astype(int) - RIGHT).max() <= 6


def test_a_player_can_start_before_it_has_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    video.write_mp4(iter([two_colours()] * 5), path)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_an_odd_size_repeats_its_last_row_and_column(tmp_path: Path) -> None:
    info = video.write_mp4(iter([two_colours(47, 63)]), tmp_path / "odd.mp4")
    assert (info.width, info.height, info.frames) == (64, 48, 1)


def test_frames_are_taken_one_at_a_time_and_let_go(tmp_path: Path) -> None:
    seen: list[weakref.ref[np.ndarray]] = []
    most, written = 0, []

    def frames() -> Iterator[np.ndarray]:
        nonlocal most
        for index in range(60):
            assert len(written) == index, "the next frame is asked for when the last one is written"
            image = two_colours()
            seen.append(weakref.ref(image))
            most = max(most, sum(ref() is not None for ref in seen))
            yield image
            del image

    info = video.write_mp4(frames(), tmp_path / "clip.mp4", on_frame=written.append)
    assert info.frames == 60
    assert written == list(range(1, 61))
    assert 1 <= most <= 3


def test_a_failing_source_leaves_nothing_and_keeps_its_error_and_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the one before")

    def frames() -> Iterator[np.ndarray]:
        yield two_colours()
        raise OSError("the renderer's own trouble")

    with pytest.raises(OSError, match="own trouble"):
        video.write_mp4(frames(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == b"the one before"


def test_an_interruption_closes_the_source_and_leaves_no_partial_file(tmp_path: Path) -> None:
    closed = []

    def frames() -> Iterator[np.ndarray]:
        try:
            while True:
                yield two_colours()
        finally:
            closed.append(True)

    def interrupt(count: int) -> None:
        if count == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.write_mp4(frames(), tmp_path / "clip.mp4", on_frame=interrupt)
    assert closed == [True]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("images", "names"),
    [
        ([], "at least one frame"),
        ([two_colours(), two_colours(40, 64)], "64 × 40"),
        ([two_colours().astype(np.float32)], "float32"),
        ([two_colours()[..., 0]], "(48, 64)"),
        ([np.zeros((0, 64, 3), np.uint8)], "(0, 64, 3)"),
    ],
)
def test_frames_that_make_no_video_are_refused(tmp_path: Path, images: list[np.ndarray], names: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        video.write_mp4(iter(images), tmp_path / "clip.mp4")
    assert names in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_speed_below_one_frame_per_second_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="fps"):
        video.write_mp4(iter([two_colours()]), tmp_path / "clip.mp4", fps=0)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    for write in (
        lambda path: video.write_mp4(iter([two_colours()]), path),
        lambda path: video.write_png(two_colours(), path),
    ):
        with pytest.raises(StorageError, match=r"absent/file"):
            write(tmp_path / "absent" / "file")


WRITE_UNDER_A_LIMIT = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from agentflow.core.errors import StorageError
    from agentflow.worldmodel import video

    kind, path, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    noise = np.random.default_rng(0).integers(0, 255, (12, 64, 96, 3)).astype(np.uint8)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        if kind == "mp4":
            video.write_mp4(iter(noise), path)
        else:
            video.write_png(noise[0], path)
    except StorageError as error:
        print(error)
        raise SystemExit(9)
"""


def write_under_a_limit(kind: str, path: Path, limit: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(WRITE_UNDER_A_LIMIT), kind, str(path), str(limit)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("kind", ["mp4", "png"])
def test_a_full_disk_is_one_clear_error_and_leaves_no_partial_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"clip.{kind}"
    unlimited = write_under_a_limit(kind, path, 0)
    assert unlimited.returncode == 0, unlimited.stderr
    size = path.stat().st_size
    path.unlink()
    # In the first bytes, in the middle of the stream, in the very last byte of the index.
    for limit in (16, size // 2, size - 1):
        result = write_under_a_limit(kind, path, limit)
        assert result.returncode == 9, (limit, result.stderr)
        assert str(path) in result.stdout
        assert "File too large" in result.stdout
        assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    for path in (text, tmp_path / "absent.mp4"):
        with pytest.raises(InvalidInputError, match=path.name):
            video.read_info(path)


def test_a_picture_comes_back_as_it_was_from_another_reader(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (37, 53, 3)).astype(np.uint8)
    video.write_png(image, tmp_path / "picture.png")
    with Pictures.open(tmp_path / "picture.png") as picture:
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), image)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"uint8 \[height, width, 3\]"):
        video.write_png(np.zeros((4, 4), np.uint8), tmp_path / "picture.png")
