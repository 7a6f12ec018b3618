"""The notebooks run from top to bottom on the installed wheel, in a kernel of their own."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from writer import on_one_spark

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
#: What each must have printed when it is through.
PRINTED = {
    "first_steps": ("correction", "Row(id=1, page='home', day='20161001')"),
    "submit_a_job": (
        "SUCCEEDED on dev with spark-submit",
        "wrote 2 rows for --date",
        "Row(id=2, page='cart', day='20161002')",
    ),
}


@on_one_spark
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, metastore, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "notebooks are kept without outputs"
    # The kernel of this very environment, whatever kernels the machine knows.
    kernel = tmp_path / "kernels" / "here"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        f'{{"argv": ["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"], "display_name": "here", "language": "python"}}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("SFBATCH_HOME", os.environ["SFBATCH_HOME"])
    client = NotebookClient(
        notebook, timeout=900, startup_timeout=240, iopub_timeout=120, kernel_name="here",
        resources={"metadata": {"path": str(tmp_path)}},
    )  # fmt: skip
    client.execute()
    printed = "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream"
    )
    for text in PRINTED[path.stem]:
        assert text in printed
