"Run chapters in place and keep their new outputs: book/execute.py [nbs/05_sgp.ipynb ...]"

import base64
import io
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from book.reader import tags  # noqa: E402


def smaller(picture):
    "The same picture (PNG as text) with 32 colours: a third of the size, and plots lose nothing."
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    written = io.BytesIO()
    image.quantize(32, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        written, "png", optimize=True
    )
    found = base64.b64encode(written.getvalue()).decode()
    return found if len(found) < len(picture) else picture


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
            for data in (output.get("data", {}) for output in cell.outputs):
                if "image/png" in data:
                    data["image/png"] = smaller(data["image/png"])
    nbformat.write(notebook, path)


if __name__ == "__main__":
    chosen = [Path(name).resolve() for name in sys.argv[1:]]
    for chapter in tqdm(chosen or sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))):
        execute(chapter)
