"""Why a job failed, where no exception says so."""

import pytest
from sfbatch.jobs.backends import Phase, Reason, Report
from sfbatch.jobs.verdict import verdict

SHUTDOWN = "26/11/21 10:00:01 INFO ShutdownHookManager: Shutdown hook called\n"
SYNTAX = "  File \"/job/main.py\", line 1\n    print(1\n         ^\nSyntaxError: '(' was never closed\n"


@pytest.mark.parametrize(
    ("stderr", "stdout", "code", "told"),
    [
        (SYNTAX, "", 1, " SyntaxError: '(' was never closed"),
        (SHUTDOWN, SYNTAX, 1, " SyntaxError: '(' was never closed"),  # spark-submit sends Python's stderr to stdout
        ("ERROR: no input\n\n" + SHUTDOWN, "", 1, " Its last line: ERROR: no input"),
        (SHUTDOWN, "ERROR: no input\n", 1, " Its last line: ERROR: no input"),
        (SHUTDOWN, "", 1, ""),
        ("python3: can't open file 'x.py'\n", "", 2, " Its last line: python3: can't open file 'x.py'"),
        ("going on\n", "", 139, " It was ended by signal 11 (SIGSEGV)."),
        ("", "all is well\n", 3, ""),
    ],
)
def test_a_failed_job_without_a_traceback_says_why_too(tmp_path, stderr, stdout, code, told):
    (tmp_path / "stderr").write_text(stderr)
    (tmp_path / "stdout").write_text(stdout)
    report = Report(Phase.ENDED, exit_code=code, reason=Reason.EXITED)
    assert verdict(report, tmp_path)["status_msg"] == f"Job failed.{told}"
