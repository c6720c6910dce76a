"Chapters as tests: two things that nbval cannot know about notebooks kept clean by nbdev."

import pytest
from nbval.plugin import IPyNbCell

from book.reader import tags


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, IPyNbCell):
            # A clean cell has no execution count, and what was "never run" nbval does not compare.
            item.cell.execution_count = 1
            # What the book does not run, a test does not run either.
            if "skip-execution" in tags(item.cell.source) | set(item.cell.metadata.get("tags", [])):
                item.options["skip"] = True
