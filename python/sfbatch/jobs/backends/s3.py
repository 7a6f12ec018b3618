"""Files to S3 and logs from it; addresses are `s3://bucket/key`, and `s3n://` and `s3a://` mean the same."""

from __future__ import annotations

import os
import threading
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from sfbatch.jobs.backends.ending import read
from sfbatch.jobs.backends.wrapper import write_whole

if TYPE_CHECKING:
    from pathlib import Path

TAGS = "genie/logs.json"  # the versions of the logs that were fetched
CHUNK_BYTES = 256 * 1024
_MISSING = {"404", "NoSuchKey", "NotFound"}


def parts(address: str) -> tuple[str, str]:
    """Bucket and key.

    >>> parts("s3n://logs/emr/")
    ('logs', 'emr/')
    """
    found = urlsplit(address)
    if found.scheme not in {"s3", "s3n", "s3a"} or not found.netloc:
        raise ValueError(f"{address} is no address in S3 (s3://bucket/...)")
    return found.netloc, found.path.lstrip("/")


def put(client: Any, path: Path, address: str) -> str:
    """Upload (5 GB at most), and return the address."""
    bucket, key = parts(address)
    with path.open("rb") as file:
        client.put_object(Bucket=bucket, Key=key, Body=file)
    return address


def put_once(client: Any, path: Path, address: str) -> str:
    """Upload, unless it is there; for addresses that hold the content's digest."""
    bucket, key = parts(address)
    try:
        client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _MISSING:
            raise
        put(client, path, address)
    return address


def fetch_log(client: Any, address: str, directory: Path, name: str, most_bytes: int) -> bool:
    """Bring a gzipped log to `directory/name`, unpacked, if it changed since; whether it is there.

    It is replaced whole, so a reader never sees half of one; what unpacks to more than `most_bytes` is cut.
    """
    bucket, key = parts(address)
    tags = read(directory / TAGS) or {}
    target = directory / name
    known = {"IfNoneMatch": tags[name]} if name in tags and target.exists() else {}
    try:
        answer = client.get_object(Bucket=bucket, Key=key, **known)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _MISSING:
            return False
        if code in {"304", "NotModified"}:
            return True
        raise
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.part")
    with part.open("wb") as file:
        _unpack(answer["Body"], file, most_bytes)
    part.rename(target)
    write_whole(str(directory / TAGS), {**tags, name: answer["ETag"]})
    return True


def _unpack(body: Any, file: Any, most_bytes: int) -> None:
    """Never more than a chunk of what it unpacks to is in memory, whatever a few bytes may unpack to."""
    left = most_bytes
    unpacker = zlib.decompressobj(wbits=31)
    for packed in body.iter_chunks(CHUNK_BYTES):
        rest = packed
        while rest and left > 0:
            content = unpacker.decompress(rest, min(CHUNK_BYTES, left))
            file.write(content)
            left -= len(content)
            rest = unpacker.unconsumed_tail
            if unpacker.eof:  # gzip files may be several, one after the other
                rest, unpacker = unpacker.unused_data, zlib.decompressobj(wbits=31)
            elif not content and not rest:
                break
        if left <= 0:
            return


def list_keys(client: Any, address: str) -> list[str]:
    """The addresses below one."""
    bucket, prefix = parts(address)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [f"s3://{bucket}/{entry['Key']}" for page in pages for entry in page.get("Contents", ())]
