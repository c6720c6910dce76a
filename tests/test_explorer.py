"The page Explore, in a real browser: what it computes is what Python computes."

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait
from test_browser import browser  # noqa: F401

from book import drawn
from book.build import ROOT
from opembed_nb.data import ENAS, ArchDataset, SearchSpace, draw, same_graphs
from opembed_nb.hood.sources import load_dataset
from opembed_nb.latent import edit_distance
from opembed_nb.training import (
    build_model,
    load_pretrained,
    load_weights,
    new_weights,
    train_config,
)

pytestmark = pytest.mark.browser
TWINS, GCNS = ("dvae", "dvae-emb"), ("gcn", "gcn-emb")
MOST = 3_000_000  # bytes of a page with all that it loads
CELLS = "nas-bench-201/cifar10"


def key(one):
    "An architecture as the page's address writes it."
    space = one.space or ENAS
    names = [space.types[kind] for kind in one.ops[0, : one.n_nodes[0]].tolist()]
    return drawn.key(names, one.adj[0].nonzero().tolist(), space)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "The page as the book has it; built here if that is missing or old."
    built = ROOT / "_build" / "html" / "explore" / "index.html"
    sources = [path for path in (ROOT / "explorer").rglob("*.*") if "__pycache__" not in path.parts]
    newest = max(path.stat().st_mtime for path in sources)
    if built.exists() and built.stat().st_mtime > newest:
        return built.parent
    out = tmp_path_factory.mktemp("explore") / "page"
    subprocess.run([sys.executable, ROOT / "explorer" / "build.py", "--out", out], check=True)
    return out


@pytest.fixture(scope="module")
def page(browser, folder):  # noqa: F811
    "Opens the page at an address, waits for both models, and gives the browser."

    def open_at(state="", width=1280, stem="index"):
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        address = (folder / f"{stem}.html").as_uri()
        if browser.current_url.split("#")[0] != address:
            browser.get(address + state)
        browser.execute_script("location.hash = arguments[0]", state or "#view=map")
        ready = "return document.documentElement.dataset.encoded === '2'"
        WebDriverWait(browser, 60, 0.1).until(lambda b: b.execute_script(ready))
        return browser

    return open_at


@pytest.fixture(scope="module")
def digits():
    return load_dataset("enas-digits")


@pytest.fixture(scope="module")
def models():
    return {name: load_pretrained(name, "enas-digits") for name in TWINS}


@pytest.fixture(scope="module")
def explorer():
    "The modules that build the page: build, prepare."
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "explorer")
        import build
        import prepare

        yield build, prepare


ENCODED = """
const [name, keys, vectors, done] = arguments, world = explorer.world(), twin = world.twin(name);
world.row(world.graphs[0]); // all rows are known by their keys from now on
const rows = keys.map(key => world.rows.get(key));
const graphs = rows.map(row => world.graphs[row]);
Promise.all(graphs.map(graph => twin.engine.ask("look", {graph}))).then(async found => done({
  mu: found.map(one => [...one.mu]),
  kept: rows.map(row => [...world.vector(twin, row)]),
  mean: found.map(one => one.mean), deviation: found.map(one => one.deviation),
  back: found.map(one => one.decoded),
  drawn: (await twin.engine.ask("decode", {vectors})).map(one => one.graph),
}));
"""


def as_page(batch):
    "Graphs as the page has them."
    bits = (batch.adj.long() << torch.arange(batch.adj.shape[1])[:, None]).sum(1)
    rows = zip(batch.ops.tolist(), bits.tolist(), batch.n_nodes.tolist())
    return [dict(n=n, ops=ops[:n], adj=adj[:n]) for ops, adj, n in rows]


@pytest.mark.parametrize("name", TWINS)
def test_the_model_in_the_page_is_the_model(name, page, digits, models):
    test, model = digits.test.batch[:200], models[name]
    mu = model.latents(test)
    between = torch.lerp(mu, mu.flip(0), 0.4)  # not at architectures
    keys = [key(test[i]) for i in range(200)]
    b = page(f"#arch={keys[0]}&model={name}&view=nowhere")
    assert b.find_element(By.ID, "tab-map").get_attribute("aria-selected") == "true"
    assert b.find_element(By.CSS_SELECTOR, "#details svg").get_attribute("aria-label")
    found = b.execute_async_script(ENCODED, name, keys, between.tolist())
    for told in ("mu", "kept"):
        assert (torch.tensor(found[told]) - mu).abs().max() < 1e-4

    def decoded(z):
        return model.decoder.sample(z, model.embedding.table(), stochastic=False)

    assert found["back"] == as_page(decoded(mu))
    assert found["drawn"] == as_page(decoded(between))
    mean, spread = torch.tensor(found["mean"]), torch.tensor(found["deviation"])
    error = mean - digits.test.accuracy[:200]
    assert error.square().mean().sqrt() < 0.4 * digits.moments()[1]
    assert 0.9 < (error.abs() < 1.96 * spread).float().mean() < 1


def test_hovering_shows_an_architecture_and_its_ten_neighbours_in_both_maps(page, digits, models):
    b = page("#view=map&projection=pca")
    canvas = b.find_elements(By.CSS_SELECTOR, "canvas[role]")[1]
    ActionChains(b).move_to_element(canvas).perform()
    row, near, others, accuracy, spent = b.execute_script("""
      const maps = explorer.maps(), shown = Number(document.getElementById("details").dataset.row);
      const world = explorer.world(), begun = performance.now();
      for (let i = 0; i < 20; i++) maps[1].told.hover(i * 997);
      const spent = (performance.now() - begun) / 20;
      maps[1].told.hover(shown);
      return [world.graphs[shown], maps[1].others.map(row => world.graphs[row]),
              maps[0].others.map(row => world.graphs[row]), world.accuracy[shown], spent];
    """)
    graphs = as_page(digits.batch)
    mine = graphs.index(row)
    assert accuracy == pytest.approx(float(digits.accuracy[mine]), abs=2e-4)
    mu = models["dvae-emb"].latents(digits.batch)
    nearest = torch.cdist(mu[mine : mine + 1], mu)[0].topk(11, largest=False).indices.tolist()
    expected = [graphs[i] for i in nearest if i != mine]
    assert sum(one in expected for one in near) >= 9  # of equally far ones either
    assert near == others and len(near) == 10
    text = b.find_element(By.ID, "details").text
    assert f"{100 * accuracy:.1f} %" in text and "DVAE-EMB predicts" in text
    assert spent < 200  # ms; without other load 10


LOOK = """
const [name, graphs, done] = arguments, { engine } = explorer.world().twin(name);
Promise.all(graphs.map(graph => engine.ask("look", {graph}))).then(found => done({
  mu: found.map(one => [...one.mu]), back: found.map(one => one.decoded),
  mean: found.map(one => one.mean),
}));
"""


def computes(b, model, batch):
    "Whether the page encodes and decodes as the model does; what it predicts."
    found, mu = b.execute_async_script(LOOK, model.name, as_page(batch)), model.latents(batch)
    back = model.decoder.sample(mu, model.embedding.table(), stochastic=False)
    assert np.allclose(found["mu"], mu, atol=1e-4) and found["back"] == as_page(back)
    return found["mean"]


def waited(b, text, place):
    WebDriverWait(b, 30, 0.1).until(lambda b: text in b.find_element(By.CSS_SELECTOR, place).text)


def test_filters_count_what_python_counts(page, digits):
    b = page("#view=map&operation=3&least=14&above=80")
    wanted = (digits.batch.ops == 3).any(1) & (digits.batch.adj.sum((1, 2)) >= 14)
    wanted &= digits.accuracy >= 0.8
    waited(b, f"{int(wanted.sum()):,} of 20,000 shown", "#count")
    b.find_element(By.ID, "list").find_element(By.TAG_NAME, "summary").click()
    waited(b, f"{100 * float(digits.accuracy[wanted].max()):.1f} %", "#rows tbody tr")
    b.find_element(By.ID, "clear").click()
    waited(b, "20,000 of 20,000 shown", "#count")


def test_an_edit_is_encoded_predicted_decoded_and_measured(page, digits):
    one = digits.test.batch[5:6]
    b = page(f"#view=bench&arch={key(one)}")
    waited(b, f"In the data: {100 * float(digits.test.accuracy[5]):.1f} %", ".measured")
    waited(b, "comes back", "[data-model=dvae-emb]")
    before = b.find_element(By.CSS_SELECTOR, "[data-model=dvae-emb] .big").text
    layer = Select(b.find_elements(By.CSS_SELECTOR, ".layers select")[2])
    layer.select_by_index((int(one.ops[0, 3]) - 2 + 3) % 6)
    ops = one.ops.clone()
    ops[0, 3] = 2 + (int(one.ops[0, 3]) - 2 + 3) % 6
    changed = type(one)(ops, one.adj, one.n_nodes, one.space)
    assert f"arch={key(changed)}" in b.current_url

    def now(b):
        return b.find_element(By.CSS_SELECTOR, "[data-model=dvae-emb] .big").text != before

    WebDriverWait(b, 30, 0.1).until(now)
    toggle = b.find_elements(By.CSS_SELECTOR, ".toggle")[0]
    pressed = toggle.get_attribute("aria-pressed")
    toggle.click()
    assert toggle.get_attribute("aria-pressed") != pressed
    assert b.switch_to.active_element == toggle


def test_the_supernet_in_the_page_reads_the_digits(page, digits):
    found = page().execute_async_script(
        """const done = arguments[1];
        explorer.supernet().then(net => net.ask("score", {graphs: arguments[0]})).then(done)""",
        as_page(digits.test.batch[:2]),
    )
    assert torch.tensor(found).tolist() == pytest.approx(
        digits.test.accuracy[:2].tolist(), abs=3e-3
    )


def test_a_walk_decodes_the_line_as_python_does(page, digits, models):
    a, z = digits.test.batch[0:1], digits.test.batch[1:2]
    b = page(f"#view=walk&arch={key(a)}&to={key(z)}")
    waited(b, "11 of 11 steps are valid", ".walk [role=status]")
    model = models["dvae-emb"]
    ends = model.latents(a), model.latents(z)
    line = torch.lerp(*ends, torch.linspace(0, 1, 11)[:, None])
    way = model.decoder.sample(line, model.embedding.table(), stochastic=False)
    edits = edit_distance(way[:10], way[1:]).tolist()
    told = b.find_element(By.CSS_SELECTOR, ".walk [role=status]").text
    back = int(same_graphs(way[0], a)) + int(same_graphs(way[10], z))
    assert f"{back} of 2 ends come back" in told
    assert f"{sum(edits)} edits, where {int(edit_distance(a, z))} are needed" in told
    assert f"largest step has {max(edits)}." in told
    steps = b.find_elements(By.CSS_SELECTOR, ".strip li")
    assert len(steps) == 11

    def drawn(b):
        return len(b.find_elements(By.CSS_SELECTOR, ".grid7 button")) == 49

    WebDriverWait(b, 30).until(drawn)
    steps[-1].find_element(By.TAG_NAME, "button").click()
    assert "view=bench" in b.current_url and f"arch={key(way[10:])}" in b.current_url


def test_a_game_has_thirty_evaluations_and_ends_with_the_optimum(page):
    b = page("#view=game")
    go = b.find_element(By.CSS_SELECTOR, ".game .main")
    told = b.execute_script(
        """const selects = [...document.querySelectorAll(".game select")], told = [];
        for (let i = 0; i < 31; i++) { // 25 cells, one of them again, five others
          const kinds = [i % 5, Math.floor(i / 5) % 5, 3, 3, 3, i > 25 ? i - 26 : 3];
          if (i > 25 && kinds[5] === 3) kinds[4] = 0;
          selects.forEach((select, k) => { select.value = kinds[k]; });
          arguments[0].click();
          told.push(document.querySelector(".game [role=status]").textContent);
        }
        return told;""",
        go,
    )
    cells = np.load(ROOT / "explorer" / "prepared" / "game.npz")["cells"].reshape([5] * 6) / 100
    assert told[0].startswith(f"{cells[0, 0, 3, 3, 3, 3]:.2f} %")
    assert "29 evaluations left" in told[0] and "You have evaluated this cell" in told[25]
    assert f"The optimum is {cells.max():.2f} %" in told[-1]
    others = (1, 0, 3, 3, 3, 0), (2, 0, 3, 3, 3, 1), (3, 0, 3, 3, 3, 2), (4, 0, 3, 3, 0, 3)
    others += ((0, 1, 3, 3, 3, 4),)
    mine = max(cells[:, :, 3, 3, 3, 3].max(), *(cells[each] for each in others))
    assert f"{int((cells > mine).sum())} of 15,625 cells are better" in told[-1]
    assert not go.is_enabled()
    labels = [text.text for text in b.find_elements(By.CSS_SELECTOR, ".game .label")]
    assert sorted(labels) == ["chance", "evolution", "local search", "our search", "you"]


def test_the_keyboard_reaches_all_and_the_address_keeps_it(page):
    b = page("#view=map")
    b.find_element(By.ID, "tab-map").send_keys(Keys.ARROW_LEFT)
    assert b.switch_to.active_element.get_attribute("id") == "tab-game"
    b.switch_to.active_element.send_keys(Keys.HOME)
    canvas = b.find_elements(By.CSS_SELECTOR, "canvas[role]")[0]
    canvas.send_keys(Keys.ARROW_RIGHT)
    first = b.current_url
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert "arch=" in first and b.current_url != first and "model=dvae" in b.current_url


@pytest.mark.parametrize("view", ["map", "bench", "walk", "game"])
def test_a_narrow_screen_does_not_scroll_sideways(view, page):
    b = page(f"#view={view}", width=390)
    wide = "return document.documentElement.scrollWidth"
    assert b.execute_script(wide) <= 390


def test_the_slider_moves_the_maps_through_the_training(page, explorer):
    kept = np.load(explorer[1].file_of("enas-digits"))
    placed = "const { x, y } = explorer.maps()[1]; return [0, 4000, 19996].map(i => [x[i], y[i]])"
    b = page("#view=map&epoch=4")
    waited(b, "5,000 of 20,000 shown, every fourth", "#count")
    assert b.find_element(By.ID, "epoch-told").text == "after 4 of 10 epochs"

    def there(epoch, most, rows):
        flat = kept[f"dvae-emb {epoch} tsne"].astype(float)
        wanted = (flat / most + (1 - flat.max(0) / most) / 2)[rows]
        return lambda b: np.allclose(b.execute_script(placed), wanted, atol=1e-3)

    WebDriverWait(b, 10, 0.1).until(there(4, 255, [0, 1000, 4999]))
    slider = b.find_element(By.ID, "epoch")
    reduced = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    b.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": reduced})
    slider.send_keys(Keys.ARROW_RIGHT)
    assert there(8, 255, [0, 1000, 4999])(b)  # at once
    assert "epoch=8" in b.current_url
    assert slider.get_attribute("aria-valuetext") == "after 8 of 10 epochs"
    b.find_element(By.ID, "play").click()
    assert "epoch=0" in b.current_url and there(0, 2047, [0, 4000, 19996])(b)
    assert b.find_element(By.ID, "epoch-told").text == "before training"
    waited(b, "after 1 of 10", "#epoch-told")
    b.find_element(By.ID, "play").click()
    b.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_model_of_other_cells_computes_in_its_page(page, explorer):
    _, prepare = explorer
    data, name = load_dataset(CELLS), "dvae-emb"
    kept = prepare.read(data)[name]
    weights = {key[8:]: torch.tensor(kept[key]).float() for key in kept if key[:8] == "weights "}
    sizes = dict(hidden=prepare.WIDTHS[CELLS], latent=56, dim=3)
    model = load_weights(build_model(name, data.space, **sizes), weights).eval()
    mean = computes(page("#view=map", stem="nas-bench-201"), model, data.test.batch[:50])
    assert np.corrcoef(mean, data.test.accuracy[:50])[0, 1] > 0.7


@pytest.fixture
def own(tmp_path, digits):
    "A file of sixty architectures of one's own."
    file = tmp_path / "mine.jsonl"
    some = digits.test
    ArchDataset.from_scores("mine", ENAS, some.batch[:60], some.accuracy[:60]).save(file)
    return file


@pytest.fixture
def gcns(explorer, own, monkeypatch):
    "Weights of two GCNs that stand for a training: {model: {epoch: model}}."
    train, sizes = load_dataset(str(own)).train.batch, dict(hidden=16, latent=8, dim=3)

    def weights(name, epoch):
        config = train_config("signal", 16, seed=epoch)
        return new_weights(name, train, config, space=ENAS, **sizes).half().float().eval()

    made = {name: {epoch: weights(name, epoch) for epoch in (0, 3, 9)} for name in GCNS}
    monkeypatch.setattr(explorer[1], "moments", lambda name, *_: made[name])
    return made


def test_a_gcn_of_ones_own_computes_in_the_page(browser, explorer, own, gcns, tmp_path):  # noqa: F811
    index = explorer[0].build(tmp_path / "page", str(own), GCNS)
    browser.get(index.as_uri() + "#view=map&epoch=3")
    ready = "return document.documentElement.dataset.encoded === '2'"
    WebDriverWait(browser, 30, 0.1).until(lambda b: b.execute_script(ready))
    waited(browser, "60 of 60 shown", "#count")
    for name in GCNS:
        computes(browser, gcns[name][9], load_dataset(str(own)).batch)


def test_two_data_sets_side_by_side_are_at_the_same_epoch(browser, folder):  # noqa: F811
    browser.get((folder / "beside.html").as_uri() + "#left=nas-bench-201&right=index")
    right, left = browser.find_elements(By.TAG_NAME, "iframe")[::-1]

    def inside(frame, script):
        browser.switch_to.frame(frame)
        try:
            return browser.execute_script(script)
        finally:
            browser.switch_to.default_content()

    def says(frame, place, words):
        script = f"return document.getElementById('{place}').textContent"
        WebDriverWait(browser, 60, 0.1).until(lambda b: words in inside(frame, script))

    says(left, "count", "15,625 of 15,625")
    says(right, "count", "20,000 of 20,000")
    slid = "const e = document.getElementById('epoch'); e.value = 2;"
    inside(left, slid + "e.dispatchEvent(new Event('input'))")
    for frame in (left, right):
        says(frame, "epoch-told", "after 2 of 10 epochs")
    browser.get("about:blank")


def test_what_is_prepared_is_of_these_data_and_is_made_again_alike(explorer, own, gcns):
    _, prepare = explorer
    for name in prepare.WIDTHS:
        if (file := prepare.file_of(name)).exists():
            made = json.loads(str(np.load(file)["made"]))
            assert made["source"] == prepare.source(load_dataset(name)), name
    first, again = (prepare.of_twin("gcn", load_dataset(str(own))) for _ in range(2))
    assert {"0 tsne", "0 pca", "3 tsne", "3 pca", "9 tsne", "root", "facts"} <= first.keys()
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_an_unfinished_page_replaces_nothing(explorer, tmp_path, monkeypatch):
    build, out = explorer[0], tmp_path / "page"
    out.mkdir()
    (out / "thesis.tex").write_text("mine", encoding="utf-8")
    with pytest.raises(build.OpembedError, match="page holds something else"):
        build.build(out)
    (out / "explorer.js").write_text("before", encoding="utf-8")
    monkeypatch.setattr(build, "page", lambda *_: 1 / 0)  # game.js is written by then
    with pytest.raises(ZeroDivisionError):
        build.build(out)
    assert (out / "explorer.js").read_text(encoding="utf-8") == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_without_a_data_set_its_page_says_so(explorer, tmp_path, monkeypatch, capsys):
    build, made = explorer[0], []

    def load(name):
        if name == CELLS:
            raise build.OpembedError("nats_bench.csv: cannot be downloaded")

    monkeypatch.setattr(build, "load_dataset", load)
    monkeypatch.setattr(build, "page", lambda out, stem, *rest: made.append((stem, rest[-1])))
    build.fill(tmp_path, None, TWINS)
    stems = ["index", "nas-bench-101"]
    assert [stem for stem, _ in made] == stems
    assert all([stem for stem, _ in menu] == stems for _, menu in made)
    text = (tmp_path / "nas-bench-201.html").read_text(encoding="utf-8")
    assert "<h1>Explore NAS-Bench-201</h1>" in text and "not at hand" in text
    assert "no page of nas-bench-201/cifar10: nats_bench.csv" in capsys.readouterr().err


def test_what_a_page_cannot_show_is_refused(explorer, digits):
    build, _ = explorer
    space = SearchSpace("long", ("a", "b"), n_layers=15)
    long = SimpleNamespace(name="long", space=space)
    for data, names, message in (
        (digits, ("gin",), "--models: the page cannot compute 'gin'; it can dvae, dvae-emb, gcn"),
        (digits, ("gcn", "gcn"), "--models: gcn gcn; give one model, or two different ones"),
        (long, TWINS, "long: 17 nodes; the page shows at most 16"),
    ):
        with pytest.raises(build.OpembedError, match=re.escape(message)):
            build.refuse(data, names)


def test_a_drawn_architecture_opens_in_explore(digits):
    some = digits.test.batch[:20]
    found = drawn.links(draw(some, titles=["a < b"] * 20), "../")
    page = "../explore/index.html#arch="
    assert found == [f'<a href="{page}{key(some[i : i + 1])}">a &lt; b</a>' for i in range(20)]
    cells = load_dataset(CELLS).test.batch[:1]
    assert f"nas-bench-201.html#arch={key(cells)}" in drawn.links(draw(cells), "")[0]


def test_the_pages_are_small_and_ask_nobody(folder):
    for page in folder.glob("*.html"):
        names = re.findall(r'(?:src|href)="([\w.-]+\.(?:js|css))"', page.read_text("utf-8"))
        assert sum(path.stat().st_size for path in [page, *map(folder.joinpath, names)]) < MOST
    for path in folder.iterdir():
        code = "utf-16" if path.read_bytes()[:2] == b"\xff\xfe" else "utf-8"
        text = "" if path.suffix in (".png", ".webp") else path.read_text(encoding=code)
        assert "fetch(" not in text and "XMLHttpRequest" not in text
        assert 'src="http' not in text and 'href="http' not in text
