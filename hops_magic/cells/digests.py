"""Hashes of what travels."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

_PART_BYTES = 16 << 20


def digest(data: bytes | memoryview) -> str:
    """Content hash, by which equal data is recognised; large data is hashed in parts, on all cores."""
    whole = memoryview(data).cast("B")
    if whole.nbytes <= _PART_BYTES:
        return hashlib.blake2b(whole, digest_size=20).hexdigest()
    parts = [whole[start : start + _PART_BYTES] for start in range(0, whole.nbytes, _PART_BYTES)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashes = pool.map(lambda part: hashlib.blake2b(part, digest_size=20).digest(), parts)
        return hashlib.blake2b(b"".join(hashes), digest_size=20, person=b"hops-parts").hexdigest()
