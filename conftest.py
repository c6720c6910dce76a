"Chapters as tests: warm kernels, and what nbval cannot know about notebooks kept clean by nbdev."

import nbval.plugin
import pytest
from nbval.plugin import IPyNbCell

from book.reader import tags
from tests.warm import warm_kernels

# What takes longest begins first, so that it is not what all wait for when the rest has ended.
LONGEST = [
    "07_bo.ipynb",
    "test_own_data.py",
    "test_bo.py",
    "test_pipeline.py",
    "05_sgp.ipynb",
    "test_engines.py",
    "test_stacks.py",
    "test_models.py",
    "test_training.py",
    "test_supernet.py",
    "11_own_space.ipynb",
    "test_door.py",
    "test_evidence.py",
    "test_asking.py",
    "test_gpu.py",
    "test_reliability.py",
    "test_oracle.py",
    "test_sgp.py",
    "09_latent.ipynb",
    "test_contributing.py",
]


class WarmKernel(nbval.plugin.RunningKernel):
    def __init__(self, *args, **options):
        with warm_kernels():
            super().__init__(*args, **options)


nbval.plugin.RunningKernel = WarmKernel


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))
    for item in items:
        if isinstance(item, IPyNbCell):
            # A clean cell has no execution count, and what was "never run" nbval does not compare.
            item.cell.execution_count = 1
            # What the book does not run, a test does not run either.
            if "skip-execution" in tags(item.cell.source) | set(item.cell.metadata.get("tags", [])):
                item.options["skip"] = True
