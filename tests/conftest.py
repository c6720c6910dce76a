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


@pytest.fixture(scope="module")
def ray_engine(request):
    "A Ray cluster of two cores, for the functions of one test file."
    import ray

    from opembed_nb.engines import RayEngine

    ray.cloudpickle.register_pickle_by_value(request.module)  # workers do not know that file
    engine = RayEngine(cpus=2, timeout=600)
    yield engine
    engine.ray.shutdown()
