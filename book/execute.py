"Run chapters in place and keep their new outputs: book/execute.py [nbs/05_sgp.ipynb ...]"

import base64
import io
import sys
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from PIL import Image
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
SEEN = 12  # steps of 255 that a colour may be off before anyone sees it
sys.path.insert(0, str(ROOT))
from book.reader import tags  # noqa: E402


def smaller(picture):
    "The same picture (PNG as text) with as few colours as leave its lines and areas what they are."
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    for colours in (32, 64, 128, 256):
        few = image.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        if keeps_colours(image, few):
            break
    written = io.BytesIO()
    few.save(written, "png", optimize=True)
    found = base64.b64encode(written.getvalue()).decode()
    return found if len(found) < len(picture) else picture


def keeps_colours(image, few):
    "Whether every colour of 40 pixels or more, a legend's line, is nearly the same in the other."
    before, after = (np.asarray(x.convert("RGB"), int).reshape(-1, 3) for x in (image, few))
    _, first, count = np.unique(before, axis=0, return_index=True, return_counts=True)
    often = first[count >= 40]
    return np.abs(before[often] - after[often]).max() <= SEEN


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
    for chapter in tqdm(chosen or sorted((ROOT / "nbs").rglob("*.ipynb"))):
        execute(chapter)
