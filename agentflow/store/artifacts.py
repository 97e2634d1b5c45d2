"""`FileArtifacts`: files by their content, written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from agentflow.core.errors import InvalidInputError, StorageError
from agentflow.core.records import Artifact

_REFERENCE = re.compile(r"artifact:([0-9a-f]{64})")
_EXTENSION = re.compile(r"\.[a-z0-9]{1,8}")


class FileArtifacts:
    """Files under ``<folder>/ab/cdef….<ext>``, named by the sha256 of their bytes.

    The same bytes are kept once. A file appears under its name only when all of it is on the disk. The
    extension is there for people and players; a reference does not hold it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes, media_type: str, name: str, meta: dict[str, Any] | None = None) -> Artifact:
        """Keep bytes.

        Raises:
            StorageError: the disk is full or cannot be written; nothing is left behind.
        """
        digest = hashlib.sha256(data).hexdigest()
        if self._find(digest) is None:
            self._keep(digest, _extension(name, media_type), name, lambda file: file.write(data))
        return Artifact(digest=digest, media_type=media_type, bytes=len(data), name=name, meta=meta or {})

    def put_file(
        self, path: Path, media_type: str, name: str, meta: dict[str, Any] | None = None
    ) -> Artifact:
        """Move a finished file in; ``path`` is gone afterwards.

        Raises:
            StorageError: ``path`` cannot be read, or the disk is full; ``path`` is still there.
        """
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = os.fstat(file.fileno()).st_size
                if self._find(digest) is None:
                    file.seek(0)
                    os.fsync(file.fileno())
                    self._move(path, file, digest, _extension(name, media_type), name)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"artifact '{name}'", str(path), error) from error
        return Artifact(digest=digest, media_type=media_type, bytes=size, name=name, meta=meta or {})

    def path(self, reference: str) -> Path:
        """Return where ``artifact:<digest>`` lies.

        Raises:
            InvalidInputError: the text is no reference, or there is no such artifact.
        """
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise InvalidInputError(
                "artifact reference", repr(reference[:100]), "'artifact:' and 64 hex digits"
            )
        found = self._find(match[1])
        if found is None:
            raise InvalidInputError(
                "artifact reference",
                f"{reference}, which is not in {self.folder}",
                "one whose file is there; machines that share a database have to share this folder, too",
            )
        return found

    def _find(self, digest: str) -> Path | None:
        files = (self.folder / digest[:2]).glob(f"{digest[2:]}*")
        return next((file for file in sorted(files) if file.is_file()), None)

    def _move(self, path: Path, file: IO[bytes], digest: str, extension: str, name: str) -> None:
        place = self.folder / digest[:2] / f"{digest[2:]}{extension}"
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(path, place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # Another file system: copied, then renamed there.
            self._keep(digest, extension, name, lambda kept: shutil.copyfileobj(file, kept))
        else:
            _sync_folder(place.parent)

    def _keep(self, digest: str, extension: str, name: str, fill: Callable[[IO[bytes]], Any]) -> None:
        """Write a scratch file beside its place, bring it to the disk, then give it its name."""
        place = self.folder / digest[:2] / f"{digest[2:]}{extension}"
        scratch = place.parent / f".writing-{uuid.uuid4().hex}"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with scratch.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, place)
            _sync_folder(place.parent)
        except OSError as error:
            raise StorageError(f"artifact '{name}'", str(place.parent), error) from error
        finally:
            scratch.unlink(missing_ok=True)


def _extension(name: str, media_type: str) -> str:
    own = Path(name).suffix.lower()
    if _EXTENSION.fullmatch(own):
        return own
    return mimetypes.guess_extension(media_type) or ""


def _sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
