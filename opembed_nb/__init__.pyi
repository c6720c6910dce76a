# What stands at the door, for editors and type checkers; __init__.py has the same table.
from .bo import Tuned as Tuned
from .data import ArchDataset as Dataset
from .data import SearchSpace as Space
from .data import draw as draw
from .decoder import DAGDecoder as DAGDecoder
from .embeddings import OperationEmbedding as OperationEmbedding
from .hood.exchange import from_module as from_module
from .hood.objectives import Search as Search
from .hood.sources import load_dataset as load
from .own_space import fit as fit
from .own_space import oracle as oracle
from .own_space import pretrained as pretrained
from .own_space import search as search
from .sgp import SparseGP as SparseGP
from .training import MODELS as MODELS
from .training import Parts as Parts
from .training import abilities as abilities

__version__: str
__all__ = [
    "load",
    "Dataset",
    "Space",
    "draw",
    "pretrained",
    "fit",
    "abilities",
    "SparseGP",
    "oracle",
    "Tuned",
    "search",
    "Search",
    "MODELS",
    "Parts",
    "OperationEmbedding",
    "DAGDecoder",
    "from_module",
]
