"""Several calls at once, each in a thread of its own."""

import threading


class Running:
    """A call under way: `.done`, `.result()`."""

    def __init__(self, call):
        self._value = self._error = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call):
        try:
            self._value = call()
        except BaseException as error:
            self._error = error

    @property
    def done(self):
        return not self._thread.is_alive()

    def result(self, timeout_s=300):
        self._thread.join(timeout_s)
        assert self.done, f"no answer within {timeout_s} s"
        if self._error:
            raise self._error
        return self._value


def at_once(calls):
    """The results of all, in order; the first error is raised when all have ended."""
    running = [Running(call) for call in calls]
    for one in running:
        one._thread.join(600)
    return [one.result(1) for one in running]
