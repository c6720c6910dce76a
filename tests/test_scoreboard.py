"The paper's numbers beside ours: what a difference amounts to, and that all is of the records."

import json
import re
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from opembed_nb.bo import PAPER_TOP_5
from opembed_nb.hood.records import save_record
from opembed_nb.lab.commands import main
from opembed_nb.lab.scoreboard import (
    ABILITIES,
    QUANTITIES,
    Cell,
    cell_table,
    cells,
    folded_scoreboard,
    overview,
    scoreboard,
    scoreboard_figure,
    short_scoreboard,
    short_twins,
    twins,
    wiring_and_rmse,
)
from opembed_nb.sgp import PAPER_TABLE_2
from opembed_nb.training import MODELS, PAPER_TABLE_1

ROOT = Path(__file__).parents[1]
BY_TITLE = {quantity.title: quantity for quantity in QUANTITIES}
PAPER = "enas-cifar10"
pytestmark = pytest.mark.usefixtures("known_origin")  # of some hundred records


@pytest.mark.parametrize(
    "title, ours, mark",
    [
        ("reconstruction (%)", [], "not run"),
        ("reconstruction (%)", [98.8], "one seed"),  # the paper: 98.70; nothing is said of one
        ("reconstruction (%)", [98.5, 99.9], "open"),  # one more might be lower
        ("reconstruction (%)", [98.9, 98.91, 98.92], "better"),
        ("reconstruction (%)", [98.73, 98.74, 98.75], "equal"),  # up to a tenth of a point
        ("reconstruction (%)", [98.9, 99.0, 99.1], "open"),  # the mean's interval is above it
        ("validity (%)", [99.42, 99.421], "worse"),  # the paper: 99.53
        ("uniqueness (%)", [90.0, 90.1], "more"),  # there is no better
        ("uniqueness (%)", [20.0, 20.1], "less"),
        ("RMSE, paper's fit", [0.489, 0.490, 0.491], "equal"),  # the paper: 0.485
        ("RMSE, paper's fit", [0.52, 0.521, 0.522], "worse"),
        ("RMSE, tuned fit", [0.4, 0.401], "better"),
        ("Pearson r, tuned fit", [0.85, 0.851], "worse"),  # the paper: 0.870
    ],
)
def test_what_a_difference_amounts_to(title, ours, mark):
    assert Cell("gcn", BY_TITLE[title], ours).mark == mark


def test_a_model_that_the_paper_has_not_is_not_judged():
    assert Cell("gin", BY_TITLE["reconstruction (%)"], [99.0, 99.1]).mark == "–"
    assert Cell("gin", BY_TITLE["reconstruction (%)"], []).mark == "not run"
    assert Cell("gin", BY_TITLE["reconstruction (%)"], [99.0]).difference is None


SHOWN = {"gcn": "signal@18", "graphrnn": "signal@20", "svae": "signal@30,b32"}  # of results/


def place(root, model):
    "Where the records that the scoreboard shows are: by hand, without the code that is tested."
    if not (root / "models").is_dir():
        return root / "laptop" / PAPER / model
    how = SHOWN.get(model.removesuffix("-emb"), "signal@12")
    return root / "models" / PAPER / model / how


def kept(root, section, model, folder=None):
    "The values of a model's records of the paper's data, without the code that is tested."
    folder = folder or place(root, model)
    files = sorted(folder.glob(f"seed-*/{section}.json"))
    return [json.loads(path.read_text(encoding="utf-8"))["values"] for path in files]


def expected(root):
    "(quantity, model) → the paper's number, its ±, the number of each seed."
    found = {}
    for model in MODELS:
        able, predicted = kept(root, "abilities", model), kept(root, "prediction", model)
        for i, name in enumerate(("accuracy", "validity", "uniqueness")):
            paper = PAPER_TABLE_1.get(model, [None] * 3)[i]
            found[ABILITIES[name], model] = paper, 0, [values[name] for values in able]
        for metric, name in (("rmse", "RMSE"), ("pearson", "Pearson r")):
            paper = PAPER_TABLE_2.get(model, {}).get(metric, (None, 0))
            tuned = [statistics.fmean(values[metric]) for values in predicted]
            own = [values["paper_setting"] for values in predicted if "paper_setting" in values]
            own = [statistics.fmean(fits[metric]) for fits in own]
            found[f"{name}, tuned fit", model] = *paper, tuned
            found[f"{name}, paper's fit", model] = *paper, own
    for model, five in PAPER_TOP_5.items():
        found["trained to the end (%)", model] = max(five), 0, []
    return found


def check_numbers(root):
    "Every number of the cells once more."
    found = {(c.quantity.title, c.model): c for c in cells(root, "laptop")}
    wanted = expected(root)
    assert found.keys() == wanted.keys()
    for key, (paper, _, ours) in wanted.items():
        cell = found[key]
        assert (cell.paper, cell.ours) == (paper, pytest.approx(ours, abs=1e-12)), key
        if paper is None or not ours:
            assert cell.difference is None and cell.interval is None, key
            continue
        gap = statistics.fmean(ours) - paper
        assert cell.difference == pytest.approx(gap, abs=1e-12), key
        assert cell.quantity.margin == (0.1 if "%" in key[0] else 0.013 if "R" in key[0] else 0.01)
        if len(ours) < 2:
            assert cell.interval is None, key
            continue
        error = statistics.stdev(ours) * (1 + 1 / len(ours)) ** 0.5
        wide = stats.t.ppf(0.975, len(ours) - 1) * error
        assert cell.interval == pytest.approx((gap - wide, gap + wide), abs=1e-9), key


def made_up(root, models=("dvae", "gcn", "gin", "svae-emb"), seeds=5):
    "Records of several models and seeds, at random but for the first model's validity."
    chance = 7
    for model in models:
        for seed in range(seeds):
            chance = chance * 16807 % (2**31 - 1)
            noise, folder = chance / 2**31 - 0.5, place(root, model) / f"seed-{seed}"
            able = dict(accuracy=99 + noise, uniqueness=40 + noise, novelty=100.0)
            able["validity"] = 100.0 if model == models[0] else 99.5 + noise / 9
            save_record(folder, "abilities", able, 1)
            save_record(folder, "training", dict(history=[{}] * 12), 1)
            fits = dict(rmse=[0.3 + noise, 0.4], pearson=[0.9, 0.9 + noise / 9], kendall=[0.7] * 2)
            save_record(folder, "prediction", dict(**fits, paper_setting=fits), 1)
            if seed:
                save_record(folder, "prediction-wiring", fits, 1)


def test_every_number_of_the_committed_scoreboard_is_that_of_the_records():
    check_numbers(ROOT / "results")
    for cell in cells(ROOT / "results", "laptop"):
        folder = ROOT / "results/models" / PAPER / cell.model / "paper@115"
        if cell.model not in ("dvae", "dvae-emb"):
            assert cell.protocol == []
        elif cell.quantity.title == "reconstruction (%)":
            assert cell.protocol == [v["accuracy"] for v in kept(None, "abilities", "", folder)]
        elif cell.quantity.title == "RMSE, paper's fit":
            [values] = kept(None, "prediction", "", folder)
            assert cell.protocol == values["paper_setting"]["rmse"]


def test_every_number_of_made_up_records(tmp_path):
    made_up(tmp_path)
    check_numbers(tmp_path)
    made_up(tmp_path, ["dvae-emb"], 1)
    made_up(tmp_path, ["gcn-emb"], 2)
    check_numbers(tmp_path)


def test_the_table_has_a_row_for_every_cell_whatever_it_says(tmp_path):
    made_up(tmp_path)
    rows = cell_table(cells(tmp_path, "laptop")).splitlines()[2:]
    assert len(rows) == 7 * len(MODELS) + len(PAPER_TOP_5)
    ours = "100.00 ± 0.00 (n = 5) | +0.00 [+0.00, +0.00] | equal |"
    assert f"| validity (%), D-VAE | 100.00 | – | {ours}" in rows
    assert "| reconstruction (%), S-VAE | 99.98 | – | – | – | not run |" in rows
    assert "| trained to the end (%), D-VAE | 94.80 | – | – | – | not run |" in rows
    assert sum(row.startswith("| reconstruction (%), GIN (ours) | – | – | 9") for row in rows) == 1
    assert "| RMSE, tuned fit, S-VAE | 0.478 ± 0.002 | – | – | – | not run |" in rows
    text = scoreboard(tmp_path, "laptop", PAPER)
    assert "\n".join(rows) in text and "| RMSE, no wiring known |" in text
    beyond = text.split("What the paper has no numbers of:")[1]
    assert "| novelty (%) |" in beyond and "| reconstruction (%) |" not in beyond
    assert "| reconstruction (%) |" in overview(tmp_path, "laptop", PAPER)


def test_the_best_that_was_trained_to_the_end_counts_if_it_was_trained_as_long(tmp_path):
    rows = [dict(kind="found", architecture="a", shared=0.7, full=full) for full in (0.95, 0.96)]
    rows.append(dict(kind="random", architecture="b", shared=0.7, full=0.99))
    folder = tmp_path / "laptop" / PAPER / "dvae"
    for seed, epochs in enumerate((12, 310)):
        values = dict(oracle="o", epochs=epochs, rows=rows)
        save_record(folder / f"seed-{seed}", "finalists", values, 1)
    [cell] = [c for c in cells(tmp_path, "laptop") if c.quantity.section == "finalists" and c.ours]
    assert cell.ours == [96.0] and cell.mark == "one seed" and cell.paper == 94.8


def test_pairs_what_wiring_explains_with_the_rmse_of_the_same_seed(tmp_path):
    for name, seeds in (("dvae", (0, 1)), ("dvae-emb", (1,)), ("gcn", (0,))):
        for seed in seeds:
            folder = tmp_path / "laptop" / PAPER / name / f"seed-{seed}"
            shares = dict(wiring=0.4 + seed / 10)
            save_record(folder, "smoothness", dict(r=0.8, shares=shares), 1)
            if name != "gcn":  # was not predicted from
                save_record(folder, "prediction", dict(rmse=[0.2, 0.4 + seed], pearson=[0.9]), 1)
    found = wiring_and_rmse(tmp_path, "laptop")
    assert list(found) == ["dvae", "dvae-emb"]
    assert found["dvae"].round(6).tolist() == [[0.4, 0.3], [0.5, 0.8]]
    assert found["dvae-emb"].round(6).tolist() == [[0.5, 0.8]]


def test_the_short_one_counts_what_all_cells_say(tmp_path):
    made_up(tmp_path)
    text = short_scoreboard(tmp_path, "laptop")
    said = text.splitlines()[-1]
    marks = {mark: int(n) for n, mark in re.findall(r"(\d+) ([a-z ]+)[,.]", said.split(":")[1])}
    judged = 6 * 4 + len(PAPER_TOP_5)  # each number of the paper once, and of RMSE and r one
    assert f"The paper's {judged} numbers" in said and sum(marks.values()) == judged
    assert marks["not run"] == judged - 4 * 2  # two of the paper's models have records
    own = [c for c in cells(tmp_path, "laptop") if c.model in ("dvae", "gcn")]
    own = [c for c in own if "Pearson" not in c.quantity.title and "tuned" not in c.quantity.title]
    for mark, n in marks.items():
        assert mark == "not run" or n == sum(c.mark == mark for c in own)
    assert "Looking up" not in said
    shown = ("RMSE, paper's fit", "reconstruction (%)"), ("validity (%)", "uniqueness (%)")
    for table, titles in zip((text, folded_scoreboard(tmp_path, "laptop")), shown, strict=True):
        rows = [line for line in table.splitlines() if line.startswith("| ") and ", " in line]
        assert len(rows) == 12 and all(row[2:].startswith(titles) for row in rows)
    looked = dict(rmse=[0.3])
    folder = tmp_path / "laptop" / PAPER / "data" / "seed-0"
    save_record(
        tmp_path / "raw" / folder.relative_to(tmp_path / "laptop"),
        "lookup",
        dict(own=looked, wiring=dict(rmse=[0.4])),
        1,
    )
    assert short_scoreboard(tmp_path, "laptop").endswith(
        "has RMSE 0.300 on the paper's split, and 0.400 (from the nearest wirings) where no test "
        "wiring is in the training set."
    )


# twins


COMPARED = {
    "reconstruction (%)": ("abilities", lambda v: v["accuracy"], 3, 1, 0.1),
    "validity (%)": ("abilities", lambda v: v["validity"], 3, 1, 0.1),
    "RMSE, tuned fit": ("prediction", lambda v: statistics.fmean(v["rmse"]), 4, -1, 0.013),
    "RMSE, no wiring known": (
        "prediction-wiring", lambda v: statistics.fmean(v["rmse"]), 4, -1, 0.013),
    "accuracy of ten neighbours, r": ("smoothness", lambda v: v["r"], 4, 1, 0.01),
}  # fmt: skip


def twin_rows(root):
    "(quantity, model) → the other columns of the table's row."
    lines = [line.strip("| ").split(" | ") for line in twins(root, "laptop").splitlines()[2:]]
    return {tuple(label.rsplit(", ", 1)): rest for label, *rest in lines}


def twin_numbers(root):
    "(quantity, model) → the numbers of both twins, seed by seed, from the files alone."
    found = {}
    for title, (section, read, *_) in COMPARED.items():
        for name in MODELS:
            pair = []
            for model in (name, f"{name}-emb"):
                paths = place(root, model).glob(f"seed-*/{section}.json")
                values = {p.parent.name: json.loads(p.read_text("utf-8"))["values"] for p in paths}
                pair.append({seed: read(v) for seed, v in values.items()})
            if all(pair):
                found[title, MODELS[name].title] = pair
    return found


def check_twins(root):
    "Each row once more: Welch's interval, as wide as Holm's rule asks for."
    rows, numbers = twin_rows(root), twin_numbers(root)
    assert rows.keys() == numbers.keys()
    told = {}
    for key, pair in numbers.items():
        one_hot, learned = (list(twin.values()) for twin in pair)
        if min(len(one_hot), len(learned)) > 1:
            constant = len({*one_hot}) == len({*learned}) == 1
            found = stats.ttest_ind(learned, one_hot, equal_var=False)
            gap = statistics.fmean(learned) - statistics.fmean(one_hot)
            p = float(gap == 0) if constant else found.pvalue
            told[key] = (
                p,
                (lambda level, gap=gap: (gap, gap)) if constant else (found.confidence_interval),
            )
    order, failed = sorted(told, key=lambda key: told[key][0]), False
    for rank, key in enumerate(order):
        (p, interval), (*_, digits, better, margin) = told[key], COMPARED[key[0]]
        low, high = interval(1 - 0.05 / (len(order) - rank))
        failed = failed or p * (len(order) - rank) >= 0.05
        says = ("learned" if (low > 0) == (better > 0) else "one-hot") if not failed else "open"
        says = "equal" if max(-low, high) <= margin else "open" if low <= 0 <= high else says
        *_, gap, said = rows[key]
        numbers = list(map(float, re.findall(r"[-+]?\d+\.\d+", gap)))
        assert numbers[1:] == pytest.approx([low, high], abs=0.51 * 10**-digits), key
        assert said == says, key
    for key in rows.keys() - told.keys():
        assert rows[key][-1] == "one seed" and "[" not in rows[key][-2]
    return len(rows)


@pytest.mark.filterwarnings("ignore:Precision loss")  # of a twin that never varies
def test_the_twins_are_two_groups_and_one_question(tmp_path):
    assert check_twins(ROOT / "results") == 20
    assert "No records of twins" in twins(tmp_path, "laptop")
    made_up(tmp_path, ["dvae", "dvae-emb"], 4)
    shutil.rmtree(place(tmp_path, "dvae") / "seed-2")
    for seed, r in enumerate((0.5, 0.6, 0.7, 0.8)):
        for model, more in (("dvae", 0), ("dvae-emb", 0.4 + seed / 1000)):
            folder = place(tmp_path, model) / f"seed-{seed}"
            save_record(folder, "smoothness", dict(r=r / 100 + more), 1)
    made_up(tmp_path, ["gcn", "gcn-emb"], 1)
    made_up(tmp_path, ["svae"], 2)  # without its twin: no row
    assert check_twins(tmp_path) == 4 + 1 + 3  # GCN has no wiring split, and no neighbours
    rows = twin_rows(tmp_path)
    assert "(n = 3)" in rows["reconstruction (%)", "D-VAE"][0]
    assert "(n = 4)" in rows["reconstruction (%)", "D-VAE"][1]
    assert rows["accuracy of ten neighbours, r", "D-VAE"][-1] == "learned"
    one, two = twin_numbers(tmp_path)["reconstruction (%)", "D-VAE"]
    together = np.corrcoef([[twin[seed] for seed in sorted(one)] for twin in (one, two)])[0, 1]
    assert rows["reconstruction (%)", "D-VAE"][2] == f"{together:+.2f}"
    [_, _, one, other] = short_twins(tmp_path, "laptop").splitlines()
    *_, gap, says = rows["reconstruction (%)", "D-VAE"]
    mean, around = gap.split(" ", 1)
    assert one.startswith(f"| D-VAE | 3 or 4 | {mean}, {says}<br>{around} | ")
    gap = rows["reconstruction (%)", "GCN"][3]
    assert other.startswith(f"| GCN | 1 | {gap}, one seed | ") and other.endswith(" | – |")


@pytest.mark.parametrize(
    "title, learned, says",
    [
        ("RMSE, tuned fit", [0.40, 0.39, 0.38], "learned"),  # less is better
        ("RMSE, tuned fit", [0.60, 0.61, 0.62], "one-hot"),
        ("RMSE, tuned fit", [0.500, 0.501, 0.502], "equal"),
        ("RMSE, tuned fit", [0.3, 0.7, 0.6], "open"),
        ("reconstruction (%)", [90.1, 90.2, 90.3], "learned"),
        ("reconstruction (%)", [0.4, 0.5, 0.6], "one-hot"),
        ("reconstruction (%)", [50.05], "one seed"),
    ],
)
def test_which_twin_is_better(tmp_path, title, learned, says):
    section, base = ("abilities", 50) if "%" in title else ("prediction", 0.5)
    for seed, number in enumerate(learned):
        for model, own in (("dvae", base + seed / 1000), ("dvae-emb", number)):
            able = dict(accuracy=own, validity=99.0, uniqueness=1.0)
            values = able if section == "abilities" else dict(rmse=[own], pearson=[0.9])
            save_record(place(tmp_path, model) / f"seed-{seed}", section, values, 1)
    assert twin_rows(tmp_path)[title, "D-VAE"][-1] == says


# the figure


SAID = re.compile(
    r"<title>(?P<model>[^,]+), (?P<title>.+?): "
    r"(?:[\d.]+(?: ± [\d.]+)? here \(n = (?P<n>\d+)\), )?(?P<paper>[\d.]+)(?: ± [\d.]+)? "
    r"in the paper, difference (?P<gap>[-+\d.]+|–)(?: \[[^]]*\])?, (?P<mark>[a-z ]+|–)<"
)


@pytest.mark.parametrize("made", [False, True])
def test_every_sign_of_the_figure_says_and_is_where_the_records_say(tmp_path, made):
    root, names = ROOT / "results", {parts.title: name for name, parts in MODELS.items()}
    if made:
        root = tmp_path
        made_up(root)
    drawn = scoreboard_figure(root, "laptop")
    said, wanted = list(SAID.finditer(drawn)), expected(root)
    signs = {(s["title"], names[s["model"]]): s for s in said}
    assert len(said) == len(signs) == drawn.count("<title>")
    assert signs.keys() == {key for key, (paper, *_) in wanted.items() if paper is not None}
    for key, sign in signs.items():
        paper, _, ours = wanted[key]
        digits = 2 if "%" in key[0] else 3
        assert float(sign["paper"]) == paper and int(sign["n"] or 0) == len(ours)
        assert (sign["mark"] == "not run") == (not ours)
        if ours:
            gap = statistics.fmean(ours) - paper
            assert float(sign["gap"]) == pytest.approx(gap, abs=0.51 * 10**-digits)
            place = re.search(r"translate\((-?[\d.]+)\)", drawn[sign.end() :])
            right = (float(place[1]) - 85) * (-1 if key[0].startswith("RMSE") else 1)
            assert abs(right) < 0.06 or (right > 0) == (gap > 0)
    assert drawn.count(">not run</text>") == sum(s["mark"] == "not run" for s in said)


def test_the_command_prints_every_cell_of_the_papers_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OPEMBED_RUNS", str(tmp_path / "nothing"))
    assert main(["scoreboard", "laptop", "-p", "dataset", PAPER]) == 0
    out = capsys.readouterr().out
    assert cell_table(cells(ROOT / "results", "laptop")) in out
