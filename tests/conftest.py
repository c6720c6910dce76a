"What several test files need."

import resource
from contextlib import contextmanager

import pytest


@pytest.fixture
def disk_of():
    "A disk that has room for no file of more than so many bytes."

    @contextmanager
    def limited(size: int):
        _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limited
