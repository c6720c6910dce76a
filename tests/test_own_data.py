"Chapters 8 and 9 on a data set of one's own: free graphs, chains of several depths."

import csv
import io
import json
import pickle
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import networkx
import numpy as np
import pytest
import torch
from common import refused_as
from test_data import Column

import opembed_nb as oe
from opembed_nb.bo import (
    make_problem,
    make_strategies,
    neighbours,
    open_ledger,
    search_record,
    strategy_table,
)
from opembed_nb.bo import search as search_study
from opembed_nb.data import (
    ENAS,
    ArchDataset,
    DAGBatch,
    SearchSpace,
    cat_batches,
    codes,
    random_architectures,
    raw_features,
    same_graphs,
    skip_pairs,
    validity,
)
from opembed_nb.graph_properties import (
    average_path_length,
    bootstrap_interval,
    clustering_coefficient,
    pearson,
    score_label,
)
from opembed_nb.hood.files import OpembedError, refused
from opembed_nb.hood.formats import from_igraph, from_networkx, to_igraph, to_networkx
from opembed_nb.hood.isomorphs import in_one_order
from opembed_nb.hood.ledger import Ledger, progress_bar
from opembed_nb.hood.sources import load_dataset
from opembed_nb.latent import plot_operations
from opembed_nb.pipeline import run_stage
from opembed_nb.training import build_model, fit_rounds, train_config

ROOT = Path(__file__).resolve().parent.parent
FREE = SearchSpace("cells", ("conv", "pool", "norm"), n_layers=7, chain=False)
CHAINS = SearchSpace("blocks", tuple(f"op {k}" for k in range(13)), n_layers=7)


def made_up(space, layers):
    "The architectures and scores of a data set: sixty graphs of each depth."
    generator = torch.Generator().manual_seed(0)
    shapes = [replace(space, n_layers=n) for n in layers]
    batch = cat_batches([random_architectures(60, s, generator, p_skip=0.4) for s in shapes])
    return batch, 2.0 * (batch.ops == 2).sum(1) + 0.1 * batch.adj.sum((1, 2))


@pytest.fixture
def free(tmp_path):
    "The file of 300 graphs of five to nine nodes whose lower scores are better."
    path = tmp_path / "mine.jsonl"
    batch, scores = made_up(FREE, range(3, 8))
    options = dict(higher_is_better=False, task="latency in ms")
    ArchDataset.from_scores("my-cells", FREE, batch, scores, **options).save(path)
    return path


@pytest.fixture
def chains(tmp_path):
    "The file of 240 chains of several depths, none of full depth, and of many operations."
    path = tmp_path / "chains.jsonl"
    batch, scores = made_up(CHAINS, (1, 2, 4, 6))
    ArchDataset.from_scores("my-blocks", CHAINS, batch, scores).save(path)
    return path


@pytest.fixture
def chapter(warm, tmp_path, monkeypatch):
    "A function that runs a chapter and gives what it prints."
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # small graphs are faster so

    def run(name, path, **parameters):
        run_stage(name, name, dict(dataset=str(path), **parameters), tmp_path)
        text = (tmp_path / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        outputs = []
        for cell in json.loads(text)["cells"]:
            outputs += cell.get("outputs", [])
        return "".join("".join(o["text"]) for o in outputs if o.get("name") == "stdout")

    return run


def kept(tmp_path, dataset, model, section):
    "The values of a record."
    path = tmp_path / "runs" / "live" / dataset / model / "seed-0" / f"{section}.json"
    return json.loads(path.read_text(encoding="utf-8"))["values"]


def edge_correlation(data):
    "Of accuracy with the number of edges, by its definition."
    sides = torch.stack([data.batch.adj.sum((1, 2)).double(), data.accuracy.double()])
    return float(torch.corrcoef(sides)[0, 1])


@pytest.mark.slow
def test_the_wiring_of_free_graphs_is_measured_and_the_papers_data_left_out(
    chapter, free, tmp_path
):
    printed = chapter("08_graph_properties", free)
    kept_once = len(load_dataset(str(free)))  # of 300, of which some were drawn twice
    assert printed.count(f"equal on all {kept_once} graphs") == 2
    assert "space cells (7 layers, 3 operations) is no chain" in printed
    assert "is not the paper's, and its data are left out" in printed
    assert "19,020" not in printed
    values = kept(tmp_path, "my-cells", "data", "graph_properties")
    assert values["architectures"] == kept_once and "skips" not in values
    expected = edge_correlation(load_dataset(str(free)))
    assert expected < 0
    assert values["correlations"]["edges"]["r"] == pytest.approx(expected, abs=1e-6)
    assert "depth" in values["correlations"]  # which chains of one depth do not vary


SMALL = dict(hidden=8, latent=6, epochs=1)  # models that are trained in a second


@pytest.mark.slow
@pytest.mark.parametrize("name", ["05_sgp", "06_oracle", "09_latent"])
def test_a_chapter_takes_a_handful_of_architectures(chapter, tmp_path, name):
    path = tmp_path / "few.jsonl"
    batch, scores = made_up(CHAINS, (2, 4))
    some = torch.arange(0, 120, 8)
    ArchDataset.from_scores("few", CHAINS, batch[some], scores[some]).save(path)
    assert len(load_dataset(str(path)).train.batch) < 15
    chapter(name, path, **(dict(SMALL, models=["dvae-emb"]) if name != "06_oracle" else {}))


@pytest.mark.slow
def test_the_wiring_of_chains_of_several_depths_is_measured(chapter, chains, tmp_path):
    printed = chapter("08_graph_properties", chains)
    assert "is no chain" not in printed
    values = kept(tmp_path, "my-blocks", "data", "graph_properties")
    batch = load_dataset(str(chains)).batch
    u, v = skip_pairs(replace(CHAINS, n_layers=6))  # of the deepest chain
    possible = v < batch.n_nodes[:, None] - 1
    present = batch.adj[:, u, v] & possible
    share = float(present.sum() / possible.sum())
    assert values["skips"] == pytest.approx(share, abs=1e-6)
    assert len(values["operations"]) == 6 and len(values["operations"][0]) == 13


@pytest.mark.slow
def test_the_space_of_free_graphs_is_measured_and_committed_results_left_out(
    chapter, free, tmp_path
):
    printed = chapter("09_latent", free, **SMALL)
    assert "is not the paper's, and committed results are left out" in printed
    assert "enas" not in printed and "not all graphs contain the chain" in printed
    spaces = kept(tmp_path, "my-cells", "data", "raw_space")["spaces"]
    assert spaces["operations"]["r"] > 0.8  # the score counts convolutions
    for model in ("dvae", "dvae-emb"):
        values = kept(tmp_path, "my-cells", model, "latent")
        assert values["operations"] == ["conv", "pool", "norm"]
        assert 0 <= values["walks"]["valid"] <= 1 and len(values["table"]) == FREE.n_types


@pytest.mark.slow
def test_the_space_of_chains_of_several_depths_is_measured(chapter, chains, tmp_path):
    printed = chapter("09_latent", chains, models=["dvae"], **SMALL)
    assert "none of the models has a learnable table" in printed
    assert -1 <= kept(tmp_path, "my-blocks", "dvae", "latent")["r"] <= 1


@pytest.mark.parametrize("dims", ["2d", "3d"])
def test_a_table_of_few_operations_is_drawn(dims):
    figure = plt.figure()
    axes = figure.add_subplot(projection="3d" if dims == "3d" else None)
    assert plot_operations(torch.randn(1, 5), ("conv",), axes) == 0
    assert plot_operations(torch.randn(2, 5), ("conv", "pool"), axes) == pytest.approx(1)
    plt.close(figure)


def test_fishers_interval_and_the_bootstraps_agree_on_the_packaged_data():
    data = load_dataset("enas-digits")
    for property_of in (average_path_length, clustering_coefficient):
        values = property_of(data.batch)
        fisher = pearson(values, data.accuracy)
        generator = torch.Generator().manual_seed(0)
        low, high = bootstrap_interval(values, data.accuracy, 500, generator)
        assert abs(fisher.low - low) < 0.01 and abs(fisher.high - high) < 0.01


def test_axes_are_named_after_what_the_scores_measure(free, chains):
    assert score_label(load_dataset(str(free))) == "latency in ms, negated"
    assert score_label(load_dataset(str(chains))) == "scores of your own"
    assert score_label(load_dataset("enas-digits")) == "weight-sharing accuracy"


# What belongs together is compared

OWN = SearchSpace("own", ("conv", "pool", "norm"), 5, chain=False)
OTHER = SearchSpace("other", ("pool", "conv", "norm"), 5, chain=False)  # in another order
BOTH = r"own \(5 layers, 3 operations\).*(other \(5|enas \(6)|(other \(5|enas \(6).*own \(5"


def milliseconds(batch):
    "Latencies that somebody might measure."
    return batch.adj.sum((1, 2)).double() + batch.ops.sum(1) / 10


def measured(n=60, space=OWN, batch=None, scores=milliseconds, **kwargs):
    if batch is None:
        batch = random_architectures(n, space, torch.Generator().manual_seed(0))
    return ArchDataset.from_scores("measured", space, batch, scores(batch), **kwargs)


def bare(batch):
    return DAGBatch(batch.ops, batch.adj, batch.n_nodes)


@pytest.fixture(scope="module")
def small_model():
    integers = {name: np.int64(k) for name, k in dict(hidden=8, latent=4, epochs=1).items()}
    return oe.fit("gin-emb", measured(), **integers, seed=np.int64(0), max_graphs=np.int64(40))


def test_a_batch_knows_its_space():
    data = measured()
    assert small_pieces(data.batch) == {OWN}
    features = raw_features(data.batch)
    assert torch.equal(features, raw_features(bare(data.batch), OWN)) and features.shape[1] == 36
    assert "norm" in oe.draw(data.batch)
    assert from_networkx(to_networkx(data.batch), OWN).space == OWN
    assert build_model("gin", OWN, 8, 4).sample(torch.zeros(2, 4)).space == OWN
    deep = bare(random_architectures(2, SearchSpace("deep", OWN.operations, 9)))
    for use in (raw_features, oe.draw, to_networkx, neighbours):
        refused_as("architectures of: space=", use, deep[:1])


def small_pieces(batch):
    "The spaces of what is made of a batch."
    column = Column([3, 1], index=[7, 9])
    parts = batch[2], batch[1:5], batch[column], batch.repeat(2), batch.to("cpu")
    more = cat_batches([batch, bare(batch)]), pickle.loads(pickle.dumps(batch))
    return {part.space for part in (*parts, *more)}


def test_an_old_pickle_of_a_batch_is_read():
    old = bare(random_architectures(2))
    del old.__dict__["space"]
    assert pickle.loads(pickle.dumps(old)).space is None


def test_filtered_columns_and_integers_of_numpy_are_taken():
    batch = measured().batch
    scores = Column(milliseconds(batch).numpy(), index=list(range(100, 160)))
    groups = Column(np.arange(60) // 2, index=list(range(100, 160)))
    settings = dict(seed=np.int64(3), groups=groups, higher_is_better=np.bool_(False))
    data = ArchDataset.from_scores("own", OWN, batch, scores, **settings)
    assert torch.equal(data.scores(data.accuracy), milliseconds(batch).float())
    assert data.seed == 3 and data.groups[:3] == (0, 0, 1) and not data.higher_is_better
    assert SearchSpace("own", OWN.operations, np.int64(5), False) == OWN
    assert oe.oracle(data, lambda b: Column([1.5], [4]))(batch[0]) == -1.5


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", None, True, 10**30])
def test_a_number_that_is_none_is_refused_at_the_door(small_model, value):
    data, fit = measured(), dict(hidden=8, latent=4, epochs=1, seed=0, dim=3)
    search = dict(rounds=1, q=1, inducing=9, seed=0, n_train=0)
    for act, usual in (
        (lambda **sizes: oe.fit("gin", data, max_graphs=32, **sizes), fit),
        (lambda **how: oe.search(small_model, data, milliseconds, "evolution", **how), search),
    ):
        for name in usual:
            if value == 0 and name in ("epochs", "seed", "n_train"):
                continue
            said = refused(act, **usual | {name: value})
            assert said.startswith(f"{name} is {value!r}; give a whole number, ")


def test_scores_as_functions_give_them():
    data = measured()
    for one in (2.5, np.float32(2.5), [2.5], np.array([2.5]), torch.tensor(2.5)):
        assert oe.oracle(data, lambda batch, one=one: one)(data.batch[0]).tolist() == [2.5]
    for none, says in {(1j, 2j): "gave complex numbers", 1.0: "gave scores of shape ()"}.items():
        assert says in refused(oe.oracle(data, lambda batch, x=none: x), data.batch[:2])


def test_a_function_as_oracle_is_known_by_its_code_and_not_by_its_memory():
    data, text = measured(), "def latency(batch): return FACTOR * batch.n_nodes + table[0]"
    calls, seen = 0, {}

    def counting(batch):
        nonlocal calls
        calls, seen[len(seen)] = calls + 1, 1.0
        return batch.n_nodes / 2

    class Counting:
        calls, factor = 0, 1

        def __init__(self, offset):
            self.offset = offset

        def __call__(self, batch):
            self.calls += 1
            return batch.n_nodes / 2 + self.offset

    def version(score):
        return oe.oracle(data, score).version

    def cell(text, **around):
        exec(text, space := {"__name__": "__main__", **around})
        return space["latency"]

    for score in (counting, Counting(1)):
        before = version(score)
        score(data.batch)
        assert len(before) == 12 and version(score) == before
    assert version(Counting(1)) != version(Counting(2))
    made = [
        cell(text, FACTOR=2, table=[0]),
        cell(text, FACTOR=2, table=[9]),
        cell(text, FACTOR=3, table=[0]),
        cell(text.replace("*", "+"), FACTOR=2, table=[0]),
    ]
    versions = list(map(version, made))
    assert versions[0] == versions[1] and len({*versions}) == 3


MIXED = {  # what is put together → how
    "features": lambda model, enas: raw_features(measured().batch, OTHER),
    "drawing": lambda model, enas: oe.draw(measured().batch[:1], ENAS),
    "networkx": lambda model, enas: to_networkx(measured().batch[:1], OTHER),
    "data": lambda model, enas: measured(space=OTHER, batch=measured().batch),
    "batches": lambda model, enas: cat_batches([measured().batch, enas.batch[:1]]),
    "training": lambda model, enas: fit_rounds(
        "gin", measured().batch, train_config("signal", 8), space=OTHER
    ),
    "latents": lambda model, enas: model.latents(measured(space=OTHER).batch),
    "abilities": lambda model, enas: oe.abilities(model, enas),
    "problem": lambda model, enas: make_problem(model, enas, milliseconds),
    "search": lambda model, enas: oe.search(model, measured(space=OTHER), milliseconds),
    "oracle": lambda model, enas: oe.search(model, measured(), oe.oracle(enas, milliseconds)),
    "ledger": lambda model, enas: [
        Ledger(model.kept, oracle=oe.oracle(measured(space=s), milliseconds)) for s in (OWN, OTHER)
    ],
    "keys": lambda model, enas: Ledger(
        ":memory:", oracle=oe.oracle(measured(), milliseconds)
    ).space_of_keys(OTHER),
}


@pytest.mark.parametrize("what", MIXED)
def test_things_of_different_spaces_are_refused_by_both_names(what, small_model, tmp_path):
    small_model.kept = tmp_path / "l.sqlite"
    refused_as(BOTH, lambda: MIXED[what](small_model, load_dataset("enas-digits")))


class Protocol:
    "An oracle that gives milliseconds, though larger ought to be better."

    name, version, space = "protocol", "1", OWN

    def __call__(self, batch):
        return milliseconds(batch)


LOW = dict(higher_is_better=False)
OTHERWISE = [  # scores of the data, their direction, oracle → what is said
    (milliseconds, LOW, Protocol(), "gives 18.7 where the data have -18.7.*give the function its"),
    (lambda b: -milliseconds(b), {}, milliseconds, "18.7 where.*-18.7.*say higher_is_better=False"),
    (milliseconds, LOW, lambda b: -milliseconds(b), "gives -18.7 where the data have 18.7"),
    (milliseconds, LOW, lambda b: 100 - milliseconds(b), "81.3 where .* 18.7, the other way round"),
    (lambda b: milliseconds(b) / 100, {}, milliseconds, "0.187: percent against shares"),
    (milliseconds, {}, lambda b: milliseconds(b) / 100, "0.187 where .* 18.7: percent against sha"),
    (milliseconds, LOW, lambda b: milliseconds(b) / 1000, "one unit, say by a factor of 1e\\+03"),
]


@pytest.mark.parametrize(("scores", "how", "oracle", "said"), OTHERWISE)
def test_an_oracle_of_another_direction_or_scale_is_refused(small_model, scores, how, oracle, said):
    with pytest.raises(OpembedError, match=said):
        oe.search(small_model, measured(scores=scores, **how), oracle, "evolution", 1, 3)


def test_what_is_minimised_is_shown_as_it_was_measured(small_model, tmp_path, capsys):
    data, asked = measured(**LOW), []

    def timed(batch):
        asked.append(len(batch))
        return milliseconds(batch)

    counts = dict(zip(("rounds", "q", "seed"), np.array([2, 3, 0])))
    found = oe.search(small_model, data, timed, "evolution", **counts, folder=tmp_path)
    best = float(found.scores())
    assert best == pytest.approx(found.curve[-1])
    assert best == pytest.approx(float(milliseconds(found.best())))
    [path] = tmp_path.glob("*.sqlite")
    ledger = Ledger(path)
    assert len(asked) == 5 + 6 == 5 + len(ledger.rows())  # the first five count for nothing
    with progress_bar(ledger, 6, True) as show:
        show()
    assert f"best {best:.4f} (evolution)" in capsys.readouterr().err
    ledger.to_csv(tmp_path / "l.csv")
    rows = list(csv.DictReader((tmp_path / "l.csv").open()))
    assert min(float(row["value"]) for row in rows) == pytest.approx(best)
    assert {(r["space"], r["operations"], r["higher_is_better"]) for r in rows} == {
        ("own", "conv, pool, norm", "False")
    }
    record = search_record(ledger, ["evolution"], 0, 1, 2, 3)
    assert record["direction"] == "minimize"
    assert record["strategies"]["evolution"]["best"] == pytest.approx([best])
    assert record["top"]["evolution"][0]["value"] == pytest.approx(best)
    assert record["curves"]["evolution"][0][-1] == pytest.approx(best, abs=1e-4)
    table = strategy_table(record["strategies"], "timed", direction=record["direction"])
    assert f"{best:.4f}" in table and "lower is better" in table


def test_the_direction_of_an_export_to_optuna(tmp_path):
    optuna = pytest.importorskip("optuna")
    data = measured(**LOW)
    problem = make_problem(None, data, milliseconds)
    ledger = open_ledger(tmp_path, problem, 0, 0, 3)
    search_study(problem, make_strategies(["evolution"]), ledger, 1, 1, 3)
    address = f"sqlite:///{tmp_path / 'o.db'}"
    assert ledger.to_optuna(address) == 3
    study = optuna.load_study(study_name="search evolution", storage=address)
    assert study.direction.name == "MINIMIZE" and study.best_value > 0
    assert set(study.trials[0].params.values()) & {*OWN.operations}


def test_operations_are_imported_by_name():
    batch = measured().batch
    new = torch.tensor([0, 1, 3, 2, 4])  # conv and pool have changed places
    for write, read in ((to_networkx, from_networkx), (to_igraph, from_igraph)):
        there = read(write(batch), OTHER)
        assert torch.equal(there.ops, new[batch.ops] * batch.mask) and there.space == OTHER
        assert same_graphs(read(write(there), OWN), batch).all()
    graphs = to_networkx(batch)
    file = io.BytesIO()
    networkx.write_graphml(graphs[0], file)
    file.seek(0)
    graphs[1] = networkx.convert_node_labels_to_integers(networkx.read_graphml(file))
    assert torch.equal(from_networkx(graphs, OTHER).ops[1], new[batch.ops[0]])
    for change, said in (
        (dict(operation="pool"), "graph 0: vertex 2: type 4 is operation 'norm'|elsewhere"),
        (dict(operation="kanv"), "operation 'kanv' is none of space other"),
        (dict(operation=None), "vertex 1 has no attribute 'operation', and others have one"),
    ):
        wrong = to_networkx(batch)
        wrong[0].nodes[1].update(change)
        refused_as(said, from_networkx, wrong, OTHER)


def test_repeats_become_one_and_what_is_alike_stays_on_one_side(tmp_path, capsys):
    once = measured().batch
    noise = torch.randn(300, generator=torch.Generator().manual_seed(0))
    data = ArchDataset.from_scores("repeated", OWN, once.repeat(5), noise)
    said = capsys.readouterr().out
    assert "240 of 300 scores repeat an architecture" in said
    five = noise.view(60, 5).double()
    assert len(data) == 60 and data.counts.tolist() == [5] * 60
    assert torch.allclose(data.accuracy.double(), five.mean(1))
    assert torch.allclose(data.errors.double(), five.std(1) / 5**0.5)
    data.save(tmp_path / "r.jsonl")
    again = oe.load(str(tmp_path / "r.jsonl"))
    assert again.digest() == data.digest() and torch.equal(again.errors, data.errors)
    tiny = SearchSpace("tiny", ("a", "b"), 4, chain=False)
    batch = random_architectures(400, tiny, torch.Generator().manual_seed(0))
    data = ArchDataset.from_scores("alike", tiny, batch, torch.arange(400.0))
    assert "in another order; these stay on one side" in capsys.readouterr().out
    sides = [
        {*map(tuple, codes(in_one_order(part.batch)).tolist())} for part in (data.train, data.test)
    ]
    assert len(data) > len(sides[0] | sides[1]) and not sides[0] & sides[1]


def test_random_architectures_are_as_deep_as_the_data():
    batch, scores = made_up(FREE, range(3, 8))
    data = ArchDataset.from_scores("depths", FREE, batch, scores)
    drawn = data.random_like(500, torch.Generator().manual_seed(0))
    assert validity(drawn, FREE).all() and {*drawn.n_nodes.tolist()} == {5, 6, 7, 8, 9}
    shares = [
        (b.n_nodes[:, None] == torch.arange(5, 10)).float().mean(0)
        for b in (drawn, data.train.batch)
    ]
    assert (shares[0] - shares[1]).abs().max() < 0.08
    full, ours = measured(), [torch.Generator().manual_seed(0) for _ in range(2)]
    assert same_graphs(full.random_like(9, ours[0]), random_architectures(9, OWN, ours[1])).all()
    assert torch.equal(*(g.get_state() for g in ours))
