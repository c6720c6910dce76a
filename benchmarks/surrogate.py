"""How far the surrogate of the paper's data can be trusted, on architectures it was not fitted to.

    python benchmarks/surrogate.py

Fits it as chapter 6 does and keeps what its card says: results/laptop/enas-cifar10/data/seed-0.
"""

import argparse
import time
from pathlib import Path

from clearly import clearly

from opembed_nb.hood.records import save_record
from opembed_nb.hood.sources import load_dataset
from opembed_nb.oracle import load_oracle

FOLDER = Path(__file__).parents[1] / "results" / "laptop" / "enas-cifar10" / "data" / "seed-0"


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    start = time.perf_counter()
    oracle = load_oracle(load_dataset("enas-cifar10"))
    record = dict(version=oracle.version, **oracle.held_out._asdict())
    save_record(FOLDER, "surrogate", record, time.perf_counter() - start)
    print(oracle.card())


if __name__ == "__main__":
    clearly(main)
