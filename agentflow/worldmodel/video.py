"""MP4 (H.264) and PNG files: streamed, and under their name only when they are whole."""

from __future__ import annotations

import os
import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from agentflow.core.errors import InvalidInputError, MissingExtraError, StorageError

Image = NDArray[np.uint8]

_BT709 = 1
_LIMITED_RANGE = 1
_ENCODER = {"preset": "veryfast", "crf": "20"}


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds."""

    frames: int
    width: int
    height: int
    fps: float
    seconds: float
    bytes: int


def write_mp4(
    frames: Iterable[Image], path: Path, fps: int = 30, on_frame: Callable[[int], None] | None = None
) -> VideoInfo:
    """Write frames ``[height, width, 3]`` (sRGB bytes) as an H.264 file, taking one at a time.

    H.264 counts colours for pairs of pixels: an odd width or height repeats its last column or row. The file
    appears under its name when it is whole; an iterator that ends early, or fails, leaves nothing behind.

    Args:
        frames: closed afterwards, if it can be.
        path: replaced, if it is there.
        fps: frames per second.
        on_frame: called with the number of frames written so far.

    Raises:
        InvalidInputError: no frame, or one that differs from the first in shape, or is not made of bytes.
        StorageError: the disk refused.
    """
    av = _av()
    if fps < 1:
        raise InvalidInputError("fps", str(fps), "a whole number of at least 1")
    try:
        with _whole_file("the video", path) as part:
            with _refusal("the video", path):
                encoder = _Encoder(av, part, fps)
            with encoder:
                for image in frames:
                    with _refusal("the video", path):
                        encoder.add(image)
                    if on_frame is not None:
                        on_frame(encoder.count)
                with _refusal("the video", path):
                    encoder.finish()
            if not encoder.count:
                raise InvalidInputError("frames", "none", "at least one frame")
            with _refusal("the video", path):
                return _inspect(av, part)
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()


def read_info(path: Path) -> VideoInfo:
    """Return what a video file holds.

    Raises:
        InvalidInputError: there is no video to read.
    """
    av = _av()
    try:
        return _inspect(av, path)
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise InvalidInputError(str(path), f"no video ({error})", "a video file") from error


def write_png(image: Image, path: Path) -> None:
    """Write an image ``[height, width, 3]`` (sRGB bytes) as a PNG file.

    Raises:
        InvalidInputError: not an image.
        StorageError: the disk refused.
    """
    height, width = _size(image, None)
    rows = np.empty((height, 1 + width * 3), np.uint8)
    rows[:, 0] = 2  # each row as its difference from the one above: smooth pictures pack better
    flat = np.ascontiguousarray(image).reshape(height, width * 3)
    rows[:, 1:] = np.diff(flat, axis=0, prepend=np.zeros((1, width * 3), np.uint8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(rows.tobytes(), 6)
    with _whole_file("the picture", path) as part, _refusal("the picture", path):
        part.write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
        )


def _av() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("writing videos", "worlds", "av") from error
    module: ModuleType = av
    return module


@contextmanager
def _refusal(what: str, path: Path) -> Iterator[None]:
    """Turn what the disk says into a `StorageError`; libav's own errors of that sort are ``OSError`` too."""
    try:
        yield
    except OSError as error:
        raise StorageError(what, str(path), error.strerror or error) from error


@contextmanager
def _whole_file(what: str, path: Path) -> Iterator[Path]:
    """Give a file beside ``path`` to write to; it takes that name when the block ends well, or is removed."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        with _refusal(what, path):
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _size(image: Image, expected: tuple[int, int] | None) -> tuple[int, int]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InvalidInputError("frame", f"{image.dtype} {image.shape}", "uint8 [height, width, 3]")
    height, width = image.shape[:2]
    if expected is not None and (height, width) != expected:
        raise InvalidInputError(
            "frame", f"{width} × {height} pixels", f"{expected[1]} × {expected[0]} pixels, as the first one"
        )
    return height, width


class _Encoder:
    """One H.264 stream in one MP4 file, its colours tagged as BT.709 so that every player shows the same."""

    def __init__(self, av: ModuleType, path: Path, fps: int) -> None:
        self.count = 0
        self._av = av
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=fps, options=_ENCODER)
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> _Encoder:
        return self

    def __exit__(self, *_: object) -> None:
        # After a failure the file is thrown away: what closing it says (the disk is still full) adds nothing.
        with suppress(OSError):
            self._container.close()

    def add(self, image: Image) -> None:
        size = _size(image, self._size)
        if self._size is None:
            self._size = size
            self._configure(*size)
        if size[0] % 2 or size[1] % 2:
            image = np.pad(image, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709)
        frame.pts = self.count
        self._container.mux(self._stream.encode(frame))
        self.count += 1

    def finish(self) -> None:
        """Write what is left; only now are a full disk's errors all told."""
        if self.count:
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def _configure(self, height: int, width: int) -> None:
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE


def _inspect(av: ModuleType, path: Path) -> VideoInfo:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate)
        return VideoInfo(
            frames=int(stream.frames),
            width=int(stream.width),
            height=int(stream.height),
            fps=fps,
            seconds=stream.frames / fps,
            bytes=path.stat().st_size,
        )
