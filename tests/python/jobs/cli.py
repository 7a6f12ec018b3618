"""`sfbatch` as a user runs it: a process of its own, against a test's server."""

import json
import os
import subprocess
import sys

COMMAND = [sys.executable, "-c", "from sfbatch.cli import main; main()"]


def environment(server, **more):
    known = {"SFBATCH_JOBS_URL": server.url, "SFBATCH_HOME": str(server.home), "NO_COLOR": "1", "COLUMNS": "200"}
    return {**os.environ, **known, **more}


def sfbatch(server, *arguments, ok=0, **options):
    """Run to the end; the finished process. Fails when the exit code is not `ok`."""
    done = subprocess.run(
        [*COMMAND, *arguments], env=environment(server), capture_output=True, text=True, timeout=120, **options
    )
    assert done.returncode == ok, (done.returncode, done.stdout, done.stderr)
    return done


def started(server, *arguments, **options):
    """Start, with pipes; the caller waits for it."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([*COMMAND, *arguments], env=environment(server), text=True, **{**pipes, **options})


def said(server, *arguments):
    """What it says with --json."""
    return json.loads(sfbatch(server, *arguments, "--json").stdout)
