"Numbers in the text are those of the records, and the words around them are free."

import json
import re
import shutil
from html import unescape
from importlib import import_module
from pathlib import Path

import pytest

from book import origins
from book.build import BookError, build
from opembed_nb.lab import commands, runner
from opembed_nb.lab.claims import CLAIMS, broken
from opembed_nb.lab.numbers import MARK, behind, fill, pages, run, texts

ROOT = Path(__file__).parents[1]
PAGES = [path.relative_to(ROOT).as_posix() for path in pages(ROOT)]


def test_every_number_and_figure_is_that_of_the_records():
    assert run(ROOT) == []


@pytest.mark.parametrize("sentence", CLAIMS)
def test_what_the_text_claims_holds(sentence):
    assert CLAIMS[sentence](ROOT / "results")


# Numbers that no record has: what was chosen, not what was found.
ALLOWED = {
    "README.md": ["3.11", "2.0"],  # Python, the licence
    "nbs/found.md": ["0.1"],  # the margin of a percentage
    "nbs/package.md": ["3.11"],
    "nbs/cards.md": ["2.0", "1.4", "80 %", "90 %", "10 %"],  # licences, a version, failures, splits
    "nbs/00_data.ipynb": ["90 %"],  # of the rows train
    "nbs/01_embeddings.ipynb": ["3.3"],  # a section of the paper
    "nbs/03_decoder.ipynb": ["3.2"],
    "nbs/04_training.ipynb": ["4.1", "0.01", "0.4", "0.05", "0.09", "0.3"]  # of the recipes
    + ["10 %", "100 %"],  # what uniqueness can be
    "nbs/05_sgp.ipynb": ["0.95", "0.0005", "0.1", "0.02", "1 %"],  # of the fits; a claim's bound
    "nbs/07_bo.ipynb": ["97 %", "0.9"],  # of 397 digits, and its sampling error
    "nbs/08_graph_properties.ipynb": ["4.4", "0.001"],
    "nbs/09_latent.ipynb": ["4.5", "5 %"],
    "nbs/hood/networks.ipynb": ["99 %"],  # of digits as they are
    "nbs/hood/kernels.ipynb": ["10 %", "90 %"],  # chance on ten classes, and most cells
    "nbs/hood/sources.ipynb": ["80 %", "1.4"],  # where cells count as failures; a version
    "nbs/lab/arms.ipynb": ["0.4"],
    "nbs/lab/evidence.ipynb": ["4.2"],
    "nbs/lab/operations_matter.ipynb": ["80 %"],  # where cells count as failures
    "nbs/lab/regret.ipynb": ["10 %", "90 %"],  # chance on ten classes, and most cells
    "nbs/lab/scoreboard.ipynb": ["0.1"],
    "nbs/lab/unseen.ipynb": ["0.02"],  # a margin that was chosen
}
OTHER = re.compile(  # than prose: comments, code, formulas, where a link leads
    r"<!--.*?-->|^```.*?^```|(?P<t>`+).+?(?P=t)|\$\$.*?\$\$|\$[^$\n]*\$"
    r"|\]\([^)]*\)|href=\"[^\"]*\"|https?://\S+",
    re.S | re.M,
)


@pytest.mark.parametrize("page", PAGES)
def test_no_result_is_typed_by_hand(page):
    allowed = {"95 %", *ALLOWED.get(page, ())}  # the level of all intervals
    for cell, text in texts(ROOT / page):
        prose = OTHER.sub("", MARK.sub("", text))
        found = set(re.findall(r"\d+\.\d+|\d+ ?%", prose)) - allowed
        assert not found, f"{page}, cell {cell}: {sorted(found)}; mark them, see nbs/lab/numbers"


@pytest.fixture
def project(tmp_path):
    "A copy of all pages and records."
    for name in ("README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("nbs", "results"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def rewritten(text):
    "All that stands outside of marks, in other words."
    kept, at = [], 0
    for match in MARK.finditer(text):
        kept += [re.sub(r"[a-z]{4,}", "word", text[at : match.start()]), match[0]]
        at = match.end()
    return "".join(kept) + re.sub(r"[a-z]{4,}", "word", text[at:])


def test_every_sentence_may_change(project):
    for name in ("README.md", "nbs/index.md", "nbs/found.md"):
        path = project / name
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert run(project) == []


def test_a_record_that_changes_is_named_and_written_where_it_is_said(project):
    [path, *_] = sorted(project.glob("results/**/enas-digits/**/dvae/**/seed-3/prediction.json"))
    record = json.loads(path.read_text(encoding="utf-8"))
    record["values"]["rmse"] = [x + 0.5 for x in record["values"]["rmse"]]
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(
        BookError, match=r"nbs/found.md, line \d+: n:spread prediction.rmse enas-digits"
    ):
        build(project, out=project / "book")
    assert any("seed 3" in line or "but 3" in line for line in broken(project / "results"))
    before = {path: path.read_text(encoding="utf-8") for path in pages(project)}
    lines = run(project, write=True)
    assert {line.split(",")[0] for line in lines} >= {"nbs/found.md", "nbs/05_sgp.ipynb"}
    assert run(project) == []
    for path, text in before.items():
        now = path.read_text(encoding="utf-8")
        assert MARK.sub("", now) == MARK.sub("", text), path


def test_without_records_nothing_is_believed(tmp_path):
    assert len(broken(tmp_path)) == len(CLAIMS)
    text, [(line, said)] = fill("a\nb <!-- n:mean abilities.accuracy x y -->1<!-- / -->", tmp_path)
    assert line == 2 and "no record of abilities, x, y" in said and "-->1<!--" in text


@pytest.mark.parametrize(
    "text, says",
    [
        ("a <!-- n:mode x.y z w -->1<!-- / -->", "'mode' is no statistic; known are mean"),
        ("a <!-- n:table x -->1<!-- / -->", "table 'x' is unknown; known are scoreboard"),
        ("a <!-- n:mean x.y z w far -->1<!-- / -->", "run 'far' is unknown; known are ours"),
        ("a <!-- n:mean study rmse -->1<!-- / -->", "cannot be computed (TypeError"),
        ("a <!-- n:mean study rmse x y -->1<!-- / -->", "no record has such a number"),
        ("- <!-- n:mean x -->1<!-- / -->", "begins a line; put a word before it"),
        ("a <!-- n:mean x -->1 b", "<!-- n:mean x -->1 b has no other end"),
        ("a <!-- / -->", "<!-- / --> has no other end"),
        ("a <!-- n:x -->1 <!-- n:y -->2<!-- / -->", "n:x is not closed before <!-- n:y"),
    ],
)
def test_a_mark_that_cannot_be_filled_is_named(text, says):
    done, said = fill(text, ROOT / "results")
    assert done == text and says in said[0][1]


def test_code_is_left_alone():
    text = "a `<!-- n:x -->`\n\n```\n<!-- n:mode -->1<!-- / -->\n```\n"
    assert fill(text, ROOT / "results") == (text, [])


# A mark → the records that it is computed from, and what the command that makes them has in it.
ORIGINS = {
    "interval prediction.rmse enas-digits dvae-emb vs dvae": (
        "models/enas-digits/dvae*/signal@12/seed-*/prediction.json",
        {"runner tables predict", "--data enas-digits", "--models dvae-emb"},
    ),
    "spread study rmse enas-cifar10 one-hot": (
        "evidence/enas-cifar10/dvae/one-hot/seed-*/arm.json",
        {"make evidence DATA=enas-cifar10 MODELS=dvae ARMS=one-hot", "SEEDS='0"},
    ),
    "mean abilities.accuracy enas-cifar10 gin half-step": (
        "models/enas-cifar10/gin/signal@25,lr0.00134/seed-*/abilities.json",
        {"tables train", "--models gin", "--passes 25", "--lr 0.00134", "--seeds 0 1 2"},
    ),
}


def seeds_of(text):
    "The seeds that a line of the page Records names: seeds 0–2 → 0, 1, 2."
    first, *more = map(int, re.findall(r"\d+", text))
    return range(first, more[0] + 1) if "–" in text else [first, *more]


@pytest.mark.parametrize("mark", ORIGINS)
def test_a_number_names_seed_commit_processor_seconds_and_command_of_its_records(mark):
    files, made_by = ORIGINS[mark]
    found = behind(mark, ROOT / "results")
    assert sorted(found) == sorted((ROOT / "results").glob(files)) and len(found) > 2
    rows = [unescape(re.sub(r"(<[^>]*>)+", "\n", row)) for row in origins.entry(found, ROOT).rows]
    rows = [row.strip().split("\n") for row in rows]
    assert all(any(words in row[2] for row in rows) for words in made_by)
    for path in found:
        record, seed = json.loads(path.read_text(encoding="utf-8")), int(path.parent.name[5:])
        origin, folder = record["provenance"], path.parents[1].relative_to(ROOT).as_posix()
        [(seeds, commit, processor, seconds)] = [
            said.split(" · ")
            for file, said, _ in rows
            if file.startswith(f"{folder}/seed-") and seed in seeds_of(said.split(" · ")[0])
        ]
        assert commit == f"commit {origin['commit']}" and origin["processor"] in processor
        assert f"{origin['threads']} thread" in processor and origin["instructions"] in processor
        taken = dict(zip(seeds_of(seeds), re.findall(r"[\d,]*\d", seconds), strict=True))
        assert taken[seed] == f"{record['seconds']:,.0f}"


def test_every_record_has_a_command_that_exists(capsys):
    kept = {path: path.parent for path in (ROOT / "results").rglob("*.json")}
    kept = {(at.parent if at.name.startswith("seed-") else at, p.stem) for p, at in kept.items()}
    for folder, section in kept:
        made = origins.command(folder.relative_to(ROOT).as_posix(), section)
        assert made, f"{folder}: no command makes {section}.json"
    asked = [("201-cifar100/again", "--trials 180"), ("graph-cora/tried", "--budget 96")]
    for table, options in asked:  # as the page that reports these searches says
        made = origins.command(f"results/search/nas-bench-{table}/weighed counts", "asking")
        assert made.endswith(f"--only 'weighed counts' {options}")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for section, command in origins.COMMANDS.items():
        program, word, *_ = command.split()
        if program == "make":
            assert re.search(rf"^{word}:", makefile, re.M), section
        elif program == "papermill" or word.endswith(".py"):
            assert (ROOT / word).exists(), section
        elif program == "opembed":
            assert word in commands.COMMANDS, section
        else:
            study = re.match(rf"{origins.RUNNER} (\S+)", command)[1]
            module, name = runner.COMMANDS[study].split(":")
            with pytest.raises(SystemExit):
                getattr(import_module(f"opembed_nb.{module}"), name)(["--help"])
            said = capsys.readouterr().out
            flags = re.findall(r"--[\w-]+", command) + ["--passes"] * ("{flags}" in command)
            flags += [f"--{name}" for name in origins.FLAGS.values()] * ("{flags}" in command)
            assert all(flag in said for flag in flags), f"{section}: {flags}"


def test_a_number_of_a_built_page_is_a_link_and_a_table_has_one_below():
    found = {
        "mean paper x": origins.PAPER,
        "table t": origins.Entry("r-1", "what <it> is", ("a row",), "data"),
    }
    page = "a <!-- n:mean paper x -->1<!-- / -->\n<!-- n:table t -->\n<table></table>\n<!-- / -->"
    number, table = origins.linked(page, found, "../").split("\n", 1)
    assert 'href="../records.html#numbers-of-the-paper"' in number and ">1</a>" in number
    assert table.startswith("\n<table></table>") and 'href="../records.html#r-1"' in table
    assert "<!--" not in number + table
    assert '<h3 id="r-1">what &lt;it&gt; is</h3>' in origins.written(found)
