"""Reads ranges of a file on a web server, as long as it is the same file."""

from __future__ import annotations

from typing import Any

from fullfield.image.checks import ChangedError


def read_range(fs: Any, url: str, span: tuple[int, int], etag: str) -> bytes:
    """Bytes of a half-open range of the file that has this ETag.

    Where the file has changed, a server answers ``If-Range`` with the whole of the new file, of which nothing is read.

    Args:
        fs: fsspec's file system of the URL.
        url: of the file.
        span: first byte, and the one after the last.
        etag: a strong one, of the file when it was opened.

    Raises:
        ChangedError: the server has another file now.
        Exception: of the network.

    Source: RFC 9110, section 13.1.5
    """
    from fsspec.asyn import sync  # type: ignore[import-untyped]

    options = {name: value for name, value in fs.kwargs.items() if name != "headers"}
    headers = {**fs.kwargs.get("headers", {}), "Range": f"bytes={span[0]}-{span[1] - 1}", "If-Range": etag}

    async def fetch() -> bytes:
        session = await fs.set_session()
        async with session.get(fs.encode_url(url), headers=headers, **options) as answer:
            if answer.status == 404:
                raise FileNotFoundError(url)
            answer.raise_for_status()
            now = answer.headers.get("ETag", etag)
            if answer.status != 206 or now.removeprefix("W/") != etag:
                raise _changed(url, etag, now)
            data: bytes = await answer.read()
            return data

    found: bytes = sync(fs.loop, fetch)
    return found


def _changed(url: str, etag: str, now: str) -> ChangedError:
    return ChangedError(
        url,
        f"was changed on the server while it was read: its ETag was {etag}, now it is {now}",
        fix="scan it anew once nothing writes to it (--restart), or download it first",
    )
