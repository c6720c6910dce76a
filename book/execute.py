"Run chapters in place and keep their new outputs: book/execute.py [nbs/05_sgp.ipynb ...]"

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from book.reader import tags  # noqa: E402


def execute(path):
    "Run the notebook at `path`; a cell that is too slow or needs a GPU keeps the output it has."
    notebook = nbformat.read(path, as_version=4)
    original = [cell.metadata for cell in notebook.cells]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata = {"tags": [*cell.metadata.get("tags", []), *tags(cell.source)]}
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    for cell, metadata in zip(notebook.cells, original, strict=True):
        cell.metadata = metadata
        if cell.cell_type == "code":  # warnings name paths of this machine, and the book hides them
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(notebook, path)


if __name__ == "__main__":
    chosen = [Path(name).resolve() for name in sys.argv[1:]]
    for chapter in tqdm(chosen or sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))):
        execute(chapter)
