"""Operation embeddings for architecture search: `import opembed_nb as oe`, then `oe.` and Tab.

This file is the door, and is written by hand: nbdev changes its version alone.
"""

__version__ = "0.1.0"

import sys
from importlib import import_module
from types import ModuleType

from . import _moved

# What stands at the door: name → module and name. Nothing is imported before it is asked for;
# __init__.pyi says the same to editors.
_DOOR = {
    "load": "hood.sources:load_dataset",
    "Dataset": "data:ArchDataset",
    "Space": "data:SearchSpace",
    "draw": "data:draw",
    "pretrained": "own_space:pretrained",
    "fit": "own_space:fit",
    "abilities": "training:abilities",
    "SparseGP": "sgp:SparseGP",
    "oracle": "own_space:oracle",
    "Tuned": "bo:Tuned",
    "search": "own_space:search",
    "Search": "hood.objectives:Search",
    "MODELS": "training:MODELS",
    "Parts": "training:Parts",
    "OperationEmbedding": "embeddings:OperationEmbedding",
    "DAGDecoder": "decoder:DAGDecoder",
    "from_module": "hood.exchange:from_module",
}
__all__ = list(_DOOR)


def _behind(name):
    module, _, attribute = _DOOR[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __getattr__(name):
    if name not in _DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
    found = _behind(name)
    return globals().get(name, found)  # a chapter of this name has come with it: see `_Chapter`


def __dir__():
    return __all__


class _Chapter(ModuleType):
    "A chapter whose name stands at the door, too (`oracle`): calling it calls what stands there."

    def __call__(self, *args, **kwargs):
        return self._called(*args, **kwargs)

    _called = property(lambda self: _behind(self.__name__.rpartition(".")[2]))
    __doc__ = property(lambda self: self._called.__doc__)
    __signature__ = property(lambda self: import_module("inspect").signature(self._called))


class _Package(ModuleType):
    "This package; importing a chapter sets it as an attribute here."

    def __setattr__(self, name, value):
        if isinstance(value, ModuleType):
            if name in _DOOR:
                value.__class__ = _Chapter
            _moved.mend(value)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
sys.meta_path.append(_moved.OldModules)
