"""Artifacts: by content, once, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentflow.core.errors import InvalidInputError, StorageError
from agentflow.core.protocols import ArtifactStore
from agentflow.core.records import Artifact
from agentflow.store.artifacts import FileArtifacts

DATA = b"frames" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def full_disk(*, after_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_bytes_are_kept_under_their_digest(tmp_path: Path) -> None:
    artifacts: ArtifactStore = FileArtifacts(tmp_path / "artifacts")
    artifact = artifacts.put(DATA, "video/mp4", "plan.mp4", {"frames": 30})

    assert artifact == Artifact(
        digest=DIGEST, media_type="video/mp4", bytes=6000, name="plan.mp4", meta={"frames": 30}
    )
    path = artifacts.path(artifact.uri)
    assert path == tmp_path / "artifacts" / DIGEST[:2] / f"{DIGEST[2:]}.mp4"
    assert path.read_bytes() == DATA


def test_the_same_bytes_are_kept_once_under_any_name(tmp_path: Path) -> None:
    artifacts = FileArtifacts(tmp_path)
    first = artifacts.put(DATA, "video/mp4", "a.mp4")
    kept = os.stat(artifacts.path(first.uri))
    second = artifacts.put(DATA, "application/octet-stream", "b.bin")

    assert files_under(tmp_path) == [artifacts.path(second.uri)]
    assert os.stat(artifacts.path(second.uri)) == kept


def test_a_finished_file_is_moved_in(tmp_path: Path) -> None:
    artifacts = FileArtifacts(tmp_path / "artifacts")
    for name in ("one.npz", "two.npz"):
        made = tmp_path / name
        made.write_bytes(DATA)
        artifact = artifacts.put_file(made, "application/x-npz", name)
        assert (artifact.digest, artifact.bytes, artifact.name) == (DIGEST, len(DATA), name)
        assert artifacts.path(artifact.uri).read_bytes() == DATA
        assert not made.exists()
    assert len(files_under(tmp_path)) == 1


def test_a_file_from_another_file_system_is_moved_in(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")  # noqa: S108 -- the one second file system that every Linux has
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system here")
    made = elsewhere / f"agentflow-test-{os.getpid()}.bin"
    made.write_bytes(DATA)
    artifacts = FileArtifacts(tmp_path)
    artifact = artifacts.put_file(made, "application/octet-stream", "made.bin")
    assert not made.exists()
    assert [path.read_bytes() for path in files_under(tmp_path)] == [DATA]
    assert artifacts.path(artifact.uri).suffix == ".bin"


@pytest.mark.parametrize(
    ("name", "media_type", "suffix"),
    [
        ("plan.MP4", "video/mp4", ".mp4"),
        ("plan", "video/mp4", ".mp4"),
        ("../../etc/passwd", "application/x-unheard-of", ""),
        ("strange.p/h?p", "application/json", ".json"),
    ],
)
def test_a_name_gives_an_extension_and_never_a_place(
    tmp_path: Path, name: str, media_type: str, suffix: str
) -> None:
    artifacts = FileArtifacts(tmp_path / "artifacts")
    artifact = artifacts.put(b"x", media_type, name)
    path = artifacts.path(artifact.uri)
    assert path == tmp_path / "artifacts" / artifact.digest[:2] / (artifact.digest[2:] + suffix)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        DIGEST,
        f"artifact:{DIGEST.upper()}",
        f"artifact:{DIGEST}\n",
        f"artifact:{DIGEST[:-1]}",
        "artifact:../../../../etc/passwd",
        f"artifact:{DIGEST}/../x",
        f"artifact:{'*' * 64}",
    ],
)
def test_what_is_no_reference_is_refused(tmp_path: Path, reference: str) -> None:
    artifacts = FileArtifacts(tmp_path)
    artifacts.put(DATA, "video/mp4", "plan.mp4")
    with pytest.raises(InvalidInputError, match="64 hex digits"):
        artifacts.path(reference)


def test_a_reference_to_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=f"artifact:{DIGEST}, which is not in"):
        FileArtifacts(tmp_path).path(f"artifact:{DIGEST}")


def test_a_full_disk_leaves_no_partial_file(tmp_path: Path) -> None:
    artifacts = FileArtifacts(tmp_path)
    with full_disk(after_bytes=1000), pytest.raises(StorageError, match=r"plan\.mp4.*Free some space"):
        artifacts.put(DATA, "video/mp4", "plan.mp4")
    assert files_under(tmp_path) == []
    artifacts.put(DATA, "video/mp4", "plan.mp4")
    assert len(files_under(tmp_path)) == 1


def test_a_file_that_cannot_be_moved_in_stays_where_it_was(tmp_path: Path) -> None:
    made = tmp_path / "made.bin"
    made.write_bytes(DATA)
    (tmp_path / "artifacts").write_text("in the way")
    with pytest.raises(StorageError):
        FileArtifacts(tmp_path / "artifacts").put_file(made, "application/octet-stream", "made.bin")
    assert made.read_bytes() == DATA


def test_a_process_killed_in_the_middle_leaves_nothing_under_a_digest(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from agentflow.store.artifacts import FileArtifacts
class Artifacts(FileArtifacts):
    def _keep(self, digest, extension, name, fill):
        def half(file):
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        super()._keep(digest, extension, name, half)
Artifacts(Path(sys.argv[1])).put(b"frames" * 1000, "video/mp4", "plan.mp4")
"""
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    artifacts = FileArtifacts(tmp_path)
    assert ended.returncode == -signal.SIGKILL
    assert [path.read_bytes() for path in files_under(tmp_path)] == [b"half of it"]
    with pytest.raises(InvalidInputError, match="which is not in"):
        artifacts.path(f"artifact:{DIGEST}")
    assert artifacts.path(artifacts.put(DATA, "video/mp4", "plan.mp4").uri).read_bytes() == DATA
