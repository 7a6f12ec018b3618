"""A proxy before an S3 server, in a process of its own: throttles, dawdles, cuts connections, loses answers, carries out late, as dice say.

`python s3_faults.py http://127.0.0.1:9000 <port> <seed> <report.json>`; SIGUSR1 begins the faults, SIGUSR2 ends them; on SIGTERM it writes how many requests met
which fault, and ends.
"""

import http.client
import json
import random
import signal
import sys
import threading
import time
from pathlib import Path

from s3_proxy import Handler, Server

#: Of every 1,000 requests of a kind, how many meet what. `exclusive`: PUT with If-None-Match.
PER_MILLE = {
    "GET": {"throttled": 8, "slow": 5, "cut": 4, "broken_off": 3},
    "HEAD": {"throttled": 8, "slow": 5, "cut": 4},
    "PUT": {"throttled": 8, "slow": 5, "cut": 4, "lost": 10, "failed_though_done": 5},
    "POST": {"throttled": 8, "slow": 5, "cut": 2, "lost": 3},
    "DELETE": {"throttled": 8, "cut": 2},
    "exclusive": {"throttled": 10, "slow": 10, "cut": 10, "lost": 30, "failed_though_done": 20, "conflict": 30, "late": 10, "late_and_silent": 3},
}  # fmt: skip
#: From when to when, of each four minutes, there are so many times as many: two storms that retries outlast, and one that they do not.
STORMS, CYCLE_S, TIMES = ((60, 66), (120, 126), (180, 206)), 240, 25
ERRORS = {"throttled": (503, "SlowDown"), "conflict": (409, "ConditionalRequestConflict"), "failed_though_done": (500, "InternalError")}  # fmt: skip


class FaultyHandler(Handler):
    dice, troubled = None, threading.Event()

    def serve(self, body):
        kind = "exclusive" if self.command == "PUT" and self.headers.get("If-None-Match") else self.command
        fault = self._fault(kind)
        self.count(f"{kind} {fault}" if fault else kind)
        if fault == "slow":
            time.sleep(self.dice.uniform(0.1, 2))
        if fault == "cut":
            return self._hang_up()
        if fault in {"late", "late_and_silent"}:
            # Nobody knows of it until it happens: with `late_and_silent` the caller's next attempts meet no object for long.
            wait = self.dice.uniform(0.1, 1) if fault == "late" else self.dice.uniform(2, 12)
            threading.Thread(target=self._late, args=(wait, body, dict(self.headers.items()))).start()
            return self._hang_up()
        if fault in {"throttled", "conflict"}:
            return self._refuse(*ERRORS[fault])
        answer = self.ask(body)
        if fault == "lost":
            return self._hang_up()
        if fault == "failed_though_done":
            return self._refuse(*ERRORS[fault])
        return self.answer(*answer, broken_off=fault == "broken_off")

    def _fault(self, kind):
        if not self.troubled.is_set():
            return None
        now = time.monotonic() % CYCLE_S
        throw = self.dice.uniform(0, 1000) / (TIMES if any(begins <= now < ends for begins, ends in STORMS) else 1)
        for fault, share in PER_MILLE[kind].items():
            throw -= share
            if throw < 0:
                return fault
        return None

    def _late(self, wait, body, headers):
        time.sleep(wait)
        self.ask(body, headers, http.client.HTTPConnection(*self.backend, timeout=60))

    def _refuse(self, status, code):
        content = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.answer(status, [("Content-Type", "application/xml")], content)

    def _hang_up(self):
        self.close_connection = True


def main():
    backend, port, seed, report = sys.argv[1:]
    FaultyHandler.dice = random.Random(f"s3 {seed}")
    signal.signal(signal.SIGUSR1, lambda *_: FaultyHandler.troubled.set())
    signal.signal(signal.SIGUSR2, lambda *_: FaultyHandler.troubled.clear())
    server = Server(FaultyHandler.before(backend), int(port)).start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while not ended.wait(1):
        pass
    with Path(report).open("w") as file:
        json.dump(dict(sorted(server.met.items())), file)


if __name__ == "__main__":
    main()
