"""Lets submissions pass before jobs are started: who submits waits for the answer, who has submitted does not."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LET_PASS_S = 1.0


class Rush:
    """Submissions under way. Safe to use from several threads."""

    def __init__(self) -> None:
        self._inside = 0
        self._changed = threading.Condition()

    @contextmanager
    def submission(self) -> Iterator[None]:
        """While one is taken in."""
        with self._changed:
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def let_pass(self, for_s: float = LET_PASS_S) -> None:
        """Wait until none is under way, but `for_s` seconds at most: a rush must not keep jobs from ever starting."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside, for_s)
