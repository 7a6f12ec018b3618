"""What a Spark job needs of sfbatch: the jar for its Spark, and the Python package as one zip for --py-files."""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import sfbatch
from sfbatch.errors import SparkError
from sfbatch.installed import SUPPORTED, jar_name
from sfbatch.spark import jar_path

_PACKAGE = Path(sfbatch.__file__).parent
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the zip's bytes follow from the sources alone


def jar_for(line: str) -> Path:
    """The jar for a Spark, e.g. `3.5`; `installed` is the Spark of the server's own environment.

    Raises SparkError SFBATCH_SPARK_NOT_FOUND, SFBATCH_SPARK_UNSUPPORTED.
    """
    if line == "installed":
        return jar_path()
    jars = sorted((_PACKAGE / "jars").glob(jar_name(line))) if line in SUPPORTED else []
    if not jars:
        message = f"this copy of sfbatch holds no jar for Spark {line}: install the wheel that `make wheel` leaves."
        raise SparkError("SFBATCH_SPARK_UNSUPPORTED", message)
    return jars[-1]


@lru_cache
def package_zip(directory: Path) -> Path:
    """The Python package as a zip in `directory`, named after its content and made once."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_PACKAGE.rglob("*.py")):
            name = path.relative_to(_PACKAGE.parent).as_posix()
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), path.read_bytes(), zipfile.ZIP_DEFLATED)
        metadata = f"Metadata-Version: 2.1\nName: sfbatch\nVersion: {sfbatch.__version__}\n"
        archive.writestr(zipfile.ZipInfo(f"sfbatch-{sfbatch.__version__}.dist-info/METADATA", _LONG_AGO), metadata)
    content = buffer.getvalue()
    path = directory / f"sfbatch-{sfbatch.__version__}-{hashlib.sha256(content).hexdigest()[:16]}.zip"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.part")
        part.write_bytes(content)
        part.rename(path)
    return path
