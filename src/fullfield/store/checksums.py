"""Checksums of what is stored, as Zarr's codec ``crc32c`` writes them."""

from __future__ import annotations

import numpy as np

CHECKSUM_BYTES = 4


def crc32c(data: bytes | memoryview) -> bytes:
    """The CRC-32C of some bytes, little-endian; taken at gigabytes a second.

    Source: Zarr v3 crc32c codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/crc32c/; RFC 3720, B.4

    Examples:
        >>> crc32c(bytes(32)).hex()
        'aa36918a'
    """
    import google_crc32c

    found: int = google_crc32c.value(np.frombuffer(data, np.uint8) if len(data) else b"")  # which takes no memoryview
    return found.to_bytes(CHECKSUM_BYTES, "little")
