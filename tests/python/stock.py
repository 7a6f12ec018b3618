"""A stock PySpark session in another process, without our jar; it stays open, as a running reader does."""

import json
import os
import subprocess
import sys
from pathlib import Path


class StockSpark:
    """`sql("select 1")` is `[[1]]`; `run(code)` is what the code left in `result` (JSON); values that JSON has not come as text."""

    def __init__(self, uri, folder, env=None, python=sys.executable):
        to_child, requests = os.pipe()
        answers, from_child = os.pipe()
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("SFBATCH_", "PYSPARK_", "SPARK_"))
        }
        self._log = Path(folder) / "stock.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(python), str(Path(__file__).with_name("stock_session.py")), uri, str(to_child), str(from_child)],
                cwd=folder, env={**clean, **(env or {})}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(to_child, from_child),
            )  # fmt: skip
        os.close(to_child)
        os.close(from_child)
        self._requests = os.fdopen(requests, "w")
        self._answers = os.fdopen(answers)
        self._read()

    def sql(self, query):
        return self._ask({"sql": query})

    def run(self, code):
        return self._ask({"code": code})

    def close(self):
        self._requests.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._answers.close()

    def _ask(self, request):
        print(json.dumps(request), file=self._requests, flush=True)
        return self._read()["value"]

    def _read(self):
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"the stock session ended:\n{self._log.read_text()[-3000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer
