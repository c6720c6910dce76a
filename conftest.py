"""Chapters as tests. nbval is told two things that it cannot know about notebooks kept clean by nbdev."""
import pytest
from nbval.plugin import IPyNbCell

from book.reader import tags


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, IPyNbCell):
            # A clean cell has no execution count; nbval takes that for "never run" and compares nothing.
            item.cell.execution_count = 1
            # What the book does not run, a test does not run either.
            if "skip-execution" in tags(item.cell.source) | set(item.cell.metadata.get("tags", [])):
                item.options["skip"] = True
