"""The text of a file: unpacked, decoded and counted in lines, a block at a time."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hops_magic.features.csv_options import CsvOptions
from hops_magic.features.errors import FeatureError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BLOCK_BYTES = 2**20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # before UTF-16, whose mark is the first half of it
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst")
_MAGIC = ((b"\x1f\x8b", ".gz"), (b"PK\x03\x04", ".zip"), (b"\xfd7zXZ\0", ".xz"), (b"\x28\xb5\x2f\xfd", ".zst"))
_SHOWN_BEFORE = 20


@dataclass(frozen=True)
class CsvSource:
    """A CSV file.

    Parameters
    ----------
    path : Path
        Where it is.
    options : CsvOptions
        How it is written.
    """

    path: Path
    options: CsvOptions

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path)[-200:]

    def stamp(self) -> tuple[int, int, int]:
        """Return what is another if the file was changed in the meantime."""
        try:
            known = self.path.stat()
        except OSError as error:
            raise FeatureError(f"{self.name} cannot be read: {error.strerror}") from error
        return known.st_ino, known.st_size, known.st_mtime_ns

    def blocks(self) -> Iterator[bytes]:
        """Yield the text as UTF-8.

        Raises
        ------
        FeatureError
            If the file cannot be read, is damaged, or is written in another encoding.
        """
        with self._opened() as raw:
            block: bytes = raw.read(_BLOCK_BYTES)
            encoding = self._encoding(block)
            decoder = codecs.getincrementaldecoder(encoding)()
            is_first, lines, text = True, 1, ""
            while True:
                try:
                    text = decoder.decode(block, final=not block)
                    if is_first and text:
                        is_first, text = False, text.removeprefix("\ufeff")
                    encoded = text.encode()
                except UnicodeError as error:
                    raise FeatureError(self._undecodable(error, encoding, lines)) from error
                lines += line_ends(text)
                yield encoded
                if not block:
                    return
                block = raw.read(_BLOCK_BYTES)

    @contextlib.contextmanager
    def lines(self, first: int = 0) -> Iterator[Iterator[str]]:
        """Open the lines as an editor shows them, with their ends, from that of a number (from 0) on."""
        with TextStream(from_line(self.blocks(), first)) as stream:
            yield io.TextIOWrapper(io.BufferedReader(stream, _BLOCK_BYTES), "utf-8", newline="")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            with self.path.open("rb") as plain:
                packing = _packing(self.path, plain.peek(8))
                with _unpacked(plain, packing, self.name) as raw:
                    yield raw
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            if isinstance(error, OSError) and error.strerror:
                raise FeatureError(f"{self.name} cannot be read: {error.strerror}") from error
            reason = str(error) or type(error).__name__
            raise FeatureError(f"{self.name} is damaged or cut off ({reason[:100]}): fetch it again") from error

    def _encoding(self, start: bytes) -> str:
        marked = next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)
        said = self.options.encoding
        if said is None:
            return marked or "utf-8"
        known = codecs.lookup(said).name
        if marked is not None and not known.startswith(marked) and known != "utf-8-sig":
            remedy = f"leave {self.options.name('encoding')} out"
            raise FeatureError(f"{self.name} begins with the mark of {marked}, so it is not {said}: {remedy}")
        # marks are taken off here, whatever the encoding
        return "utf-8" if known == "utf-8-sig" else known

    def _undecodable(self, error: UnicodeError, encoding: str, lines: int) -> str:
        if not isinstance(error, UnicodeDecodeError):
            return f"{self.name} cannot be read as {encoding} ({error}): say another {self.options.name('encoding')}"
        before = codecs.getincrementaldecoder(encoding)(errors="replace").decode(error.object[: error.start])
        line = lines + line_ends(before)
        near = before.splitlines()[-1][-_SHOWN_BEFORE:] if before and not before.endswith(("\n", "\r")) else ""
        what = error.object[error.start : error.start + 1].hex()
        where = f" after {near!r}" if near else ""
        # the zeros of plain letters come before them or behind
        zero = before.find("\0")
        likely = "cp1252" if zero < 0 else "utf-16-le" if zero % 2 else "utf-16-be"
        remedy = f"say how it is written, e.g. {self.options.say(encoding=likely)} or latin-1"
        return f"{self.name}, line {line:,}: the byte 0x{what}{where} is not text in {encoding}: {remedy}"


class TextStream(io.RawIOBase):
    """Blocks of a generator as a file that may be read from any thread, and be closed while it is.

    Parameters
    ----------
    blocks : iterator of bytes
        What it holds.

    Attributes
    ----------
    failure : FeatureError or None
        What went wrong in the generator, which other libraries may tell in words of their own.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.failure: FeatureError | None = None
        self._blocks: Any = blocks
        self._rest = memoryview(b"")
        self._lock = threading.Lock()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer)
        with self._lock:
            try:
                while not self._rest:
                    self._rest = memoryview(next(self._blocks))
            except StopIteration:
                return 0
            except FeatureError as error:
                self.failure = error
                raise
            size = min(len(target), len(self._rest))
            target[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def close(self) -> None:
        with self._lock:
            if not self.closed:
                self._blocks.close()
                self._blocks, self._rest = iter(()), memoryview(b"")
            super().close()


def line_ends(text: str) -> int:
    """Count the ends of lines, as an editor does: CR LF, LF or CR."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def from_line(blocks: Iterator[bytes], first: int) -> Iterator[bytes]:
    """Yield what follows after so many lines."""
    rest = b""
    for block in blocks:
        rest += block
        while first:
            # the last byte may be the first half of a line's end
            ends = [at for at in (rest.find(b"\n", 0, -1), rest.find(b"\r", 0, -1)) if at >= 0]
            if not ends:
                break
            end = min(ends)
            rest = rest[end + (2 if rest[end : end + 2] == b"\r\n" else 1) :]
            first -= 1
        if not first:
            yield rest
            yield from blocks
            return


def _packing(path: Path, start: bytes) -> str:
    """Return how a file is packed, as its name says or else as its first bytes do."""
    ending = path.suffix.lower()
    if ending in PACKED:
        return ending
    return next((ending for magic, ending in _MAGIC if start.startswith(magic)), "")


@contextlib.contextmanager
def _unpacked(plain: Any, packing: str, name: str) -> Iterator[Any]:
    if not packing:
        yield plain
    elif packing == ".zip":
        with zipfile.ZipFile(plain) as archive, _only_member(archive, name) as member:
            yield member
    elif packing == ".zst":
        import pyarrow as pa

        with pa.CompressedInputStream(plain, "zstd") as stream:
            yield stream
    else:
        opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[packing]
        with opener(plain) as opened:
            yield opened


def _only_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    members = [item for item in archive.infolist() if not item.is_dir() and not item.filename.startswith(("__MACOSX/", "."))]
    if len(members) != 1:
        shown = ", ".join(item.filename for item in members[:5]) or "none"
        raise FeatureError(
            f"{name} must hold one file, and holds {len(members)} ({shown[:200]}): unpack it, and import those"
        )
    try:
        return archive.open(members[0])
    # encrypted, or packed in a way that Python does not know
    except (RuntimeError, NotImplementedError) as error:
        raise FeatureError(f"{name} cannot be unpacked ({str(error)[:100]}): unpack it with another program") from error
