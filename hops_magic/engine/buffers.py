"""Large data of programs on a node: one file per buffer and run, mapped by the ranks.

A buffer that another live run has already brought is hard-linked: equal data lies on a node once, and is gone with its last
run.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import mmap
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping
from io import FileIO
from pathlib import Path

from hops_magic.errors import ClusterError

PART_BYTES = 16 << 20

Fetch = Callable[[str, str, str, int, int], Awaitable[bytes]]
"""``fetch(source, run_id, digest, offset, length)``"""


def node_folder(local_directory: Path) -> Path:
    """Folder that the workers of a node share: beside their own local directories, private to the user."""
    folder = local_directory.parent / f"hops-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def node_identity(folder: Path) -> str:
    """Name of the node: equal for processes which see the same folder on the same machine, and only for those."""
    stat = folder.stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{stat.st_dev}:{stat.st_ino}"


def _hold(folder: Path) -> int:
    """Keep a node's folder from being deleted: its name would come back as another node's."""
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # whoever used it last has just deleted it
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with contextlib.suppress(OSError):  # a network folder without locks is deleted by none
                fcntl.flock(held, fcntl.LOCK_SH)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(held), folder.stat()):
                    return held
            os.close(held)


def write_buffer(folder: Path, run_id: str, digest: str, data: memoryview) -> Path:
    """Put a buffer where the ranks of a run on this node look for it; whole or not at all.

    Raises
    ------
    ClusterError
        If the disk is full or the folder cannot be written.
    """
    target = _path(folder, run_id, digest)
    with _writing_to(folder):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _link_from_other_run(folder, digest, target):
            draft = target.with_suffix(f".{secrets.token_hex(4)}")
            try:
                with draft.open("wb") as file:
                    file.write(data)
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)
    return target


def map_buffer(folder: Path, run_id: str, digest: str) -> memoryview:
    """Map a buffer copy-on-write: ranks share its pages until one writes to them."""
    with _path(folder, run_id, digest).open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))


@contextlib.contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Say in one sentence that a disk is full, or what else speaks against writing there."""
    try:
        yield
    except OSError as error:
        raise ClusterError(f"data cannot be brought to {folder}: {error.strerror}") from error


def _append(folder: Path, file: FileIO, part: bytes) -> None:
    with _writing_to(folder):
        left = memoryview(part)
        while left:
            left = left[file.write(left) :]


def _path(folder: Path, run_id: str, digest: str) -> Path:
    return folder / run_id / digest


def _link_from_other_run(folder: Path, digest: str, target: Path) -> bool:
    if target.exists():
        return True
    for other in folder.glob(f"*/{digest}"):
        with contextlib.suppress(OSError):  # that run may just be ending
            os.link(other, target)
            return True
    return False


class BufferStore:
    """The buffers of a node, as one of its workers sees them."""

    def __init__(self, root: Path, fetch: Fetch) -> None:
        self.root, self._fetch = root, fetch
        self._held = _hold(root)
        self._fetching: dict[tuple[str, str], asyncio.Lock] = {}

    def folder(self, run_id: str) -> Path:
        """Folder of a run on this node."""
        return self.root / run_id

    async def provide(self, run_id: str, buffers: Mapping[str, int], source: str) -> None:
        """Make sure that a run's buffers lie here, fetching those that miss from the worker ``source``."""
        try:
            for digest, size in buffers.items():
                lock = self._fetching.setdefault((run_id, digest), asyncio.Lock())
                async with lock:
                    if not _path(self.root, run_id, digest).exists():
                        await self._bring(run_id, digest, size, source)
        finally:
            for digest in buffers:
                self._fetching.pop((run_id, digest), None)

    async def _bring(self, run_id: str, digest: str, size: int, source: str) -> None:
        target = _path(self.root, run_id, digest)
        draft = target.with_suffix(f".{secrets.token_hex(4)}")
        with _writing_to(self.root):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if await asyncio.to_thread(_link_from_other_run, self.root, digest, target):
                return
            # unbuffered, so that closing it has nothing left to fail with
            file = draft.open("wb", buffering=0)
        try:
            with file:
                for offset in range(0, size, PART_BYTES):
                    part = await self._fetch(source, run_id, digest, offset, PART_BYTES)
                    await asyncio.to_thread(_append, self.root, file, part)
            # several workers of a node may fetch at once: the last one wins with the same bytes
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def store_part(self, run_id: str, digest: str, offset: int, part: bytes) -> None:
        """Write a part of a buffer that comes from elsewhere, in order.

        Raises
        ------
        ClusterError
            If the disk is full or the folder cannot be written.
        """
        with _writing_to(self.root):
            self.folder(run_id).mkdir(mode=0o700, parents=True, exist_ok=True)
            with _path(self.root, run_id, digest).open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.write(part)

    def part(self, run_id: str, digest: str, offset: int, length: int) -> bytes:
        """Read a part of a buffer."""
        with _path(self.root, run_id, digest).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def drop(self, run_id: str) -> None:
        """Delete a run's buffers and sockets on this node."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder(run_id))

    def close(self) -> None:
        """Delete the node's folder when nothing is left in it and no other worker of the node uses it."""
        with contextlib.suppress(OSError):
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.root.rmdir()
        os.close(self._held)
