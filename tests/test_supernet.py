"The supernet and what hangs on it: images, weight sharing, single architectures, full training, CIFAR-10's archive."

import functools
import hashlib
import http.server
import io
import json
import resource
import subprocess
import sys
import tarfile
import threading
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import opembed_nb.networks as networks
import opembed_nb.oracle as oracle_module
from opembed_nb.data import ASSETS, ENAS, OpembedError, SearchSpace, load_dataset, random_architectures, read_structures
from opembed_nb.networks import (
    CIFAR10,
    NETWORKS,
    NetSizes,
    Network,
    Schedule,
    Supernet,
    cifar10_images,
    crop_and_flip,
    digit_images,
    disturb,
    layers_of,
    load_supernet,
    read_cifar10,
    save_supernet,
    to_module,
    to_source,
    train_fully,
    train_supernet,
)
from opembed_nb.oracle import (
    Oracle,
    WeightSharingOracle,
    load_oracle,
    make_digits,
    ranking_study,
    reliability,
)
from opembed_nb.records import load_tensors, save_tensors

BRIEF = Schedule(3, cycle=3)
QUICK = Schedule(60, lr=0.2, cycle=60)  # enough to see that something was learned
TINY = NetSizes(4)
VIEWS = 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return digit_images()


@pytest.fixture(scope="module")
def oracle():
    return load_oracle(load_dataset("enas-digits"))


def one_line(error):
    return "\n" not in str(error.value)


# images


def test_every_image_is_disturbed_by_its_own_draw_and_the_generator_alone():
    same = torch.rand(1, 1, 8, 8, generator=generator()).expand(20, 1, 8, 8)
    moved = disturb(same, generator(1))
    assert torch.equal(moved, disturb(same, generator(1)))
    assert len(disturb(same, generator(1), noise=0).flatten(1).unique(dim=0)) == 20
    assert torch.allclose(disturb(same, generator(1), turn=0, shift=0, scale=0, noise=0), same, atol=1e-5)


def test_a_shift_is_in_pixels():
    image = torch.zeros(200, 1, 9, 9)
    image[:, :, 4, 4] = 1
    moved = disturb(image, generator(), turn=0, shift=2, scale=0, noise=0)
    grid = torch.arange(9.0)
    centre = (moved * grid).sum((1, 2, 3)) / moved.sum((1, 2, 3)) - 4
    assert 1.5 < centre.abs().max() <= 2.01


def test_parts_of_the_digits_share_no_digit(images):
    from sklearn.datasets import load_digits

    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    n_train, (valid, labels) = len(images.train[0]), images.valid
    assert torch.equal(images.train[1], torch.from_numpy(load_digits().target)[order[:n_train]].long())
    digits = len(valid) // VIEWS
    assert torch.equal(labels.view(VIEWS, digits)[0], labels.view(VIEWS, digits)[-1])
    assert torch.equal(labels[:digits], torch.from_numpy(load_digits().target)[order[n_train : n_train + digits]].long())


# supernet and oracle


def test_sharing_the_beginning_changes_no_bit(oracle):
    batch = random_architectures(30, ENAS, generator(3))
    batch.ops[:15, 1:4], batch.adj[:15, :, :4] = batch.ops[0, 1:4], batch.adj[0, :, :4]
    alone = torch.stack([oracle.hits(batch[i])[0] for i in range(30)])
    assert torch.equal(oracle.hits(batch), alone)
    order = torch.randperm(30, generator=generator())
    assert torch.equal(oracle.hits(batch[order]), alone[order])


def test_a_skip_adds_the_output_of_its_node():
    net, x = Supernet(ENAS, TINY).eval(), torch.rand(6, 1, 8, 8, generator=generator())
    layers = [(0, ()), (4, (0,)), (2, (1,)), (1, (0, 2)), (5, ()), (3, (0, 4))]
    h, s = [net.stem(x)], 0
    for i, (k, sources) in enumerate(layers):
        if i in (2, 4):
            s += 1
            h = [net.halves[f"{j}_{s}"](state) for j, state in enumerate(h)]
        h.append(net.norms[i](net.operations[i][k](h[i]) + sum(h[j] for j in sources)))
    assert torch.allclose(net(x, tuple(layers)), net.head(h[-1]), atol=1e-5)


def test_labels_are_what_the_oracle_says_and_are_reliable(oracle):
    data = load_dataset("enas-digits")
    assert isinstance(oracle, Oracle) and len(data) == 20_000 and oracle.space == data.space
    rows = torch.arange(7, 20_000, 250)
    hits = oracle.hits(data.batch[rows])
    assert (hits.float().mean(1) - data.accuracy[rows]).abs().max() < 0.004
    found = reliability(hits, VIEWS)
    assert found["half_r"] >= 0.95 and found["std"] >= 4 * found["error"]
    card = json.loads((ASSETS / "enas-digits.json").read_text())
    assert card["oracle"] == oracle.version and card["half_r"] >= 0.95 and card["std"] >= 4 * card["error"]
    assert abs(card["mean"] - float(data.accuracy.mean())) < 1e-6
    assert card["sha256"] == hashlib.sha256((ASSETS / "enas-digits.txt.gz").read_bytes()).hexdigest()


def test_what_is_embedded_is_small():
    assert (ASSETS / "enas-digits.txt.gz").stat().st_size <= 600_000
    assert (ASSETS / "enas-digits-supernet.safetensors").stat().st_size <= 400_000


def test_reliability_sees_noise_and_signal():
    probability = torch.linspace(0.3, 0.9, 100)[:, None].expand(100, 1800)
    signal = torch.rand(100, 1800, generator=generator()) < probability
    noise = torch.rand(100, 1800, generator=generator()) < 0.6
    assert reliability(signal, 3)["half_r"] > 0.95 and abs(reliability(noise, 3)["half_r"]) < 0.35
    assert abs(reliability(noise, 3)["error"] - (0.24 / 1800) ** 0.5) < 0.001
    copies = noise[:, :600].repeat(1, 3)  # views that are copies add no information
    assert abs(reliability(copies, 3)["error"] - (0.24 / 600) ** 0.5) < 0.002


def test_untrained_or_mismatched_supernets_are_refused(images, tmp_path):
    with pytest.raises(OpembedError, match="guessing 0.100; its weights are untrained") as e:
        WeightSharingOracle(Supernet(ENAS, TINY), images)
    assert one_line(e)
    with pytest.raises(OpembedError, match="have 1 channels and 10 classes, the network was made for 3 and 10"):
        WeightSharingOracle(Supernet(ENAS, replace(TINY, channels=3)), images)
    save_supernet(tmp_path / "net.safetensors", Supernet(ENAS, TINY))
    with pytest.raises(OpembedError, match="holds a supernet of .*width=4.* not of .*width=8"):
        load_supernet(tmp_path / "net.safetensors", NetSizes(8))
    state = Supernet(ENAS, TINY).state_dict()
    for name, change, says in (
        ("stem.0.weight", lambda t: t[:2], "another width"),
        ("head.4.bias", lambda t: t * float("nan"), "not finite"),
    ):
        with pytest.raises(OpembedError, match=f"'{name}' .*{says}"):
            networks.load_state(Supernet(ENAS, TINY), {**state, name: change(state[name])}, "weights")
    with pytest.raises(OpembedError, match="'extra' belongs to no part"):
        networks.load_state(Supernet(ENAS, TINY), {**state, "extra": state["head.4.bias"]}, "w")
    state.pop("stem.0.weight")
    with pytest.raises(OpembedError, match="'stem.0.weight' is missing"):
        networks.load_state(Supernet(ENAS, TINY), state, "w")


def test_architectures_of_another_space_are_refused(oracle):
    deep = random_architectures(2, SearchSpace("deep", ENAS.operations, 7), generator())
    with pytest.raises(OpembedError, match="9 nodes"):
        oracle(deep)
    with pytest.raises(OpembedError, match="no module; known are conv 3×3"):
        Supernet(SearchSpace("odd", ("fft",), 6))
    with pytest.raises(OpembedError, match="no chain"):
        Supernet(SearchSpace("free", ENAS.operations, 6, chain=False))
    with pytest.raises(OpembedError, match="halved after layers 1 … 2 only"):
        Supernet(SearchSpace("short", ENAS.operations, 3))


def test_images_of_another_shape_are_refused(images):
    bad = images._replace(valid=(images.valid[0].repeat(1, 3, 1, 1), images.valid[1]))
    with pytest.raises(OpembedError, match="3 channels"):
        WeightSharingOracle(Supernet(ENAS, TINY), bad)
    networks.check_images(images, TINY)
    x, y = images.valid
    for bad, says in (((x[:, 0], y), "valid has shape .3000, 8, 8. and 3000 labels"), ((x, y[:7]), "3000, 1, 8, 8. and 7 labels"),
                      ((x[..., :3], y), "8 × 3 pixels are too small to be halved 2 times")):
        with pytest.raises(OpembedError, match=says) as e:
            WeightSharingOracle(Supernet(ENAS, TINY), images._replace(valid=bad))
        assert one_line(e)
    few = images._replace(train=(images.train[0][:50], images.train[1][:50]))
    with pytest.raises(OpembedError, match="50 train images are fewer than a minibatch of 100"):
        train_supernet(few, ENAS, TINY, BRIEF)
    color = images._replace(train=(images.train[0].repeat(1, 3, 1, 1), images.train[1]))
    with pytest.raises(OpembedError, match="images 'digits' have 3 channels .* made for 1"):
        train_supernet(color, ENAS, TINY, BRIEF)


@pytest.mark.parametrize("sizes", [TINY, NetSizes(4, growth=2, auxiliary=True, keep=0.8)], ids=["plain", "grown"])
def test_training_the_supernet_resumes_exactly(images, tmp_path, sizes):
    straight, history = train_supernet(images, ENAS, sizes, BRIEF)
    train_supernet(images, ENAS, sizes, BRIEF, tmp_path, stop_after=1)
    torch.rand(3)  # what others draw in between does not matter
    resumed, again = train_supernet(images, ENAS, sizes, BRIEF, tmp_path)
    assert [h["loss"] for h in history] == [h["loss"] for h in again]
    assert all(torch.equal(a, b) for a, b in zip(straight.state_dict().values(), resumed.state_dict().values()))
    with pytest.raises(OpembedError, match="belongs to a run with lr = 0.05, not 0.1"):
        train_supernet(images, ENAS, sizes, replace(BRIEF, lr=0.1), tmp_path)


def test_a_supernet_can_be_relearned(images):
    net, history = train_supernet(images, ENAS, NetSizes(8), QUICK)
    assert history[-1]["accuracy"] > 0.3 > 0.2 > history[0]["accuracy"]
    assert WeightSharingOracle(net, images)(random_architectures(5, ENAS, generator())).mean() > 0.3


def test_the_disk_is_full(images, tmp_path, monkeypatch):
    train_fully(random_architectures(1, ENAS, generator()), images, sizes=TINY, schedule=BRIEF, folder=tmp_path, stop_after=1)
    [file] = tmp_path.iterdir()
    before = file.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OpembedError, match="cannot be written .*No space left") as e:
        train_fully(random_architectures(1, ENAS, generator()), images, sizes=TINY, schedule=BRIEF, folder=tmp_path)
    assert one_line(e) and file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_make_digits_from_nothing(images, tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS["digits"], "supernet", (NetSizes(8), QUICK))
    facts = make_digits(tmp_path, n=30, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "enas-digits-supernet.safetensors",
        "enas-digits.json",
        "enas-digits.txt.gz",
    ]
    batch, accuracy = read_structures(tmp_path / "enas-digits.txt.gz")
    again = WeightSharingOracle(load_supernet(tmp_path / "enas-digits-supernet.safetensors"), images)
    assert again.version == facts["oracle"] and torch.allclose(again(batch), accuracy, atol=0.002)  # a few of 3,000
    assert json.loads((tmp_path / "enas-digits.json").read_text()) == json.loads(json.dumps(facts))
    assert facts["architectures"] == len(batch) == 30


class Dummy:
    "A training that is over at once."

    def __init__(self, net):
        self.net = net

    def __call__(self, *args):
        return self.net, [dict(epoch=1, loss=1.0, accuracy=0.5, lr=0.1, seconds=1.0)]


@pytest.mark.parametrize(
    "size, file", [(100, "enas-digits.txt.gz"), (10_000, "enas-digits-supernet.safetensors"), (None, "enas-digits.json")]
)
def test_make_digits_on_a_full_disk(disk_of, oracle, tmp_path, monkeypatch, size, file):
    monkeypatch.setattr(oracle_module, "train_supernet", Dummy(oracle.net))
    make_digits(tmp_path, n=3, progress=False)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert len(before) == 3
    if size is None:
        (tmp_path / file).unlink()
        (tmp_path / file).mkdir()
    with disk_of(size or resource.RLIM_INFINITY), pytest.raises(OpembedError, match=f"{file}: cannot be written") as e:
        make_digits(tmp_path, n=10, seed=1, progress=False)
    assert one_line(e) and {f.name for f in tmp_path.iterdir()} == set(before)
    assert size is None or (tmp_path / file).read_bytes() == before[file]


def test_a_supernet_on_a_full_disk(disk_of, tmp_path):
    file = tmp_path / "net.safetensors"
    save_supernet(file, Supernet(ENAS, TINY))
    before = file.read_bytes()
    with disk_of(10_000), pytest.raises(OpembedError, match="cannot be written .*free the disk") as e:
        save_supernet(file, Supernet(ENAS, NetSizes(8)))
    assert one_line(e) and str(file) in str(e.value)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_a_truncated_supernet_is_named(tmp_path, cut):
    file = tmp_path / "net.safetensors"
    save_supernet(file, Supernet(ENAS, TINY))
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(OpembedError, match="is no whole safetensors file") as e:
        load_supernet(file)
    assert one_line(e) and str(file) in str(e.value)


def test_a_supernet_that_says_another_width_or_nothing(tmp_path):
    file, net = tmp_path / "net.safetensors", Supernet(ENAS, TINY)
    save_supernet(file, net)
    tensors, meta = load_tensors(file)
    save_tensors(file, tensors, **{**meta, "sizes": {**meta["sizes"], "width": 8}})
    with pytest.raises(OpembedError, match="is it of another width"):
        load_supernet(file)
    for lost in ("space", "sizes"):
        save_tensors(file, tensors, **{k: v for k, v in meta.items() if k != lost})
        with pytest.raises(OpembedError, match="was not written by save_supernet"):
            load_supernet(file)


def test_the_embedded_supernet_is_the_one_its_schedule_names(oracle):
    sizes, schedule = NETWORKS["digits"]["supernet"]
    assert load_supernet(ASSETS / "enas-digits-supernet.safetensors", sizes).sizes == oracle.net.sizes == sizes
    card = json.loads((ASSETS / "enas-digits.json").read_text())
    assert card["schedule"] == asdict(schedule) and card["sizes"] == {**asdict(sizes), "pools": list(sizes.pools)}


# one architecture


def test_a_module_is_the_supernets_path(oracle):
    x = oracle.images.valid[0][:300]
    for i in range(12):
        architecture = random_architectures(1, ENAS, generator(i))
        module = to_module(architecture, oracle.net)
        with torch.no_grad():
            expected = oracle.net(x, layers_of(architecture)[0])
            assert torch.allclose(module(x), expected, atol=1e-5)
            assert (module(oracle.images.valid[0]).argmax(1) == oracle.images.valid[1]).float().mean() == pytest.approx(
                float(oracle(architecture)), abs=0.002
            )


def test_a_module_has_no_part_that_it_does_not_use():
    for i in range(10):
        net = to_module(random_architectures(1, ENAS, generator(i))).train()
        net(torch.rand(4, 1, 8, 8)).sum().backward()
        assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("sizes", [NetSizes(4), NetSizes(6, 3, 7, (1, 3), 2, keep=0.5)])
def test_source_stands_alone(tmp_path, sizes):
    net = to_module(random_architectures(1, ENAS, generator(5)), sizes=sizes)
    x = torch.rand(4, sizes.channels, 8, 8, generator=generator())
    torch.save(dict(state=net.state_dict(), x=x, out=net(x)), tmp_path / "case.pt")
    (tmp_path / "net.py").write_text(to_source(net, "Found"))
    check = (
        "import sys, torch; from net import Found; case = torch.load('case.pt'); net = Found()\n"
        "net.load_state_dict(case['state']); assert torch.allclose(net.eval()(case['x']), case['out'], atol=1e-6)\n"
        "assert not any(m.startswith('opembed') for m in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]


def test_a_module_can_be_exported(oracle):
    for net in (
        to_module(random_architectures(1, ENAS, generator()), oracle.net),
        to_module(random_architectures(1, ENAS, generator(1))),
    ):
        x = oracle.images.valid[0][:50]
        assert torch.allclose(torch.export.export(net, (x,)).module()(x), net(x), atol=1e-5)


def test_a_module_is_made_on_the_device_of_its_supernet():
    architecture = random_architectures(1, ENAS, generator())
    assert next(to_module(architecture, Supernet(ENAS, TINY).to("meta")).parameters()).device.type == "meta"


def test_one_architecture_is_one(images):
    two = random_architectures(2, ENAS, generator())
    with pytest.raises(OpembedError, match="2 architectures, a module is made of one"):
        to_module(two)
    with pytest.raises(OpembedError, match="2 architectures, one can be trained"):
        train_fully(two, images)


# full training


@pytest.mark.parametrize("sizes", [TINY, NetSizes(4, growth=2, auxiliary=True, keep=0.5)], ids=["plain", "auxiliary"])
def test_full_training_resumes_exactly_and_tests_once(images, tmp_path, monkeypatch, sizes):
    read = []
    monkeypatch.setattr(networks, "_accuracy", lambda net, x, y: read.append(1) or _accuracy(net, x, y))
    architecture, settings = random_architectures(1, ENAS, generator()), dict(sizes=sizes, schedule=BRIEF)
    for epochs in (1, 1):
        assert train_fully(architecture, images, folder=tmp_path, stop_after=epochs, **settings).accuracy is None
    assert not read
    resumed, straight = (
        train_fully(architecture, images, folder=tmp_path, **settings),
        train_fully(architecture, images, **settings),
    )
    assert len(read) == 2 and resumed.accuracy == straight.accuracy
    assert all(torch.equal(a, b) for a, b in zip(straight.net.state_dict().values(), resumed.net.state_dict().values()))
    done = train_fully(architecture, images, folder=tmp_path, **settings)
    assert done.accuracy == straight.accuracy and len(done.history) == 3


_accuracy = networks._accuracy


def test_full_training_learns(images):
    trained = train_fully(random_architectures(1, ENAS, generator(2)), images, sizes=NetSizes(8), schedule=Schedule(30, cycle=30))
    assert trained.accuracy > 0.5 and trained.history[-1]["loss"] < trained.history[0]["loss"]


def test_the_papers_networks_run():
    net = Network(
        layers_of(random_architectures(1, ENAS, generator()))[0], ENAS, replace(NETWORKS["cifar10"]["full"][0], width=8)
    ).train()
    logits, auxiliary = net(torch.rand(2, 3, 32, 32))
    assert logits.shape == auxiliary.shape == (2, 10) and net.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    sizes, schedule = NETWORKS["cifar10"]["full"]
    assert (sizes.width, sizes.keep, schedule.epochs, schedule.minibatch, schedule.weight_decay) == (96, 0.5, 310, 100, 2e-4)
    assert NETWORKS["cifar10"]["supernet"][0].width == 36


def test_ranking_in_processes_is_ranking_in_one(oracle, tmp_path):
    batch = random_architectures(2, ENAS, generator())
    one = ranking_study(oracle, batch, BRIEF, seeds=1)
    two = ranking_study(oracle, batch, BRIEF, seeds=1, folder=tmp_path, workers=2)
    assert [a for (a,) in one["alone"]] == pytest.approx([a for (a,) in two["alone"]], abs=0.01)
    assert len(list(tmp_path.iterdir())) == 2


# CIFAR-10

PARTS = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def archive(changes=None, rows=20):
    "An archive in CIFAR-10's form: the bytes of a .tar.gz; `changes` adds or replaces members (None leaves one out)."
    rng = np.random.default_rng(0)
    members = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"}
    for part in PARTS:
        labels, pixels = rng.integers(0, 10, (rows, 1)), rng.integers(0, 256, (rows, 3072))
        members[f"cifar-10-batches-bin/{part}.bin"] = np.concatenate([labels, pixels], 1).astype(np.uint8).tobytes()
    members |= changes or {}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members.items():
            if content is None:
                continue
            info = tarfile.TarInfo(name)
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_archive_is_read_as_it_was_written(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(archive())
    (x, y), (x_test, y_test) = read_cifar10(tmp_path / "a.tar.gz")
    assert x.shape == (100, 3, 32, 32) and x.dtype == torch.uint8 and y.shape == (100,) and x_test.shape == (20, 3, 32, 32)
    rng = np.random.default_rng(0)
    assert y[:20].tolist() == (labels := rng.integers(0, 10, (20, 1)))[:, 0].tolist() and len(labels) == 20
    assert torch.equal(x[:20].flatten(1), torch.from_numpy(rng.integers(0, 256, (20, 3072)).astype(np.uint8)))


def link(name, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"../../escape.bin": b"x"}, "'../../escape.bin'"),
        ({"/tmp/absolute.bin": b"x"}, "absolute.bin'"),
        ({"cifar-10-batches-bin/extra.pkl": b"x"}, "extra.pkl"),
        ({"cifar-10-batches-bin/test_batch.bin": link("cifar-10-batches-bin/test_batch.bin", "/etc/passwd")}, "test_batch.bin"),
        ({"cifar-10-batches-bin/test_batch.bin": None}, "test_batch.bin is missing"),
        ({"cifar-10-batches-bin/test_batch.bin": b"x" * 3072}, "3072 bytes, up to 10,000 rows of 3073"),
        ({"cifar-10-batches-bin/test_batch.bin": b"\x0b" + b"x" * 3072}, "label 11"),
    ],
)
def test_hostile_and_broken_archives_are_refused(tmp_path, changes, says):
    file = tmp_path / "a.tar.gz"
    file.write_bytes(archive(changes))
    with pytest.raises(OpembedError) as e:
        read_cifar10(file)
    assert says in str(e.value) and str(file) in str(e.value) and one_line(e) and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("cut", [0, 10, 1000, -200])
def test_a_truncated_archive_is_named(tmp_path, cut):
    (tmp_path / "a.tar.gz").write_bytes(archive()[:cut])
    with pytest.raises(OpembedError, match="no whole archive|missing") as e:
        read_cifar10(tmp_path / "a.tar.gz")
    assert one_line(e)


@pytest.fixture
def server(tmp_path):
    "A file server on loopback; gives its folder and its address."
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "served"))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield tmp_path / "served", f"http://127.0.0.1:{httpd.server_port}/cifar-10-binary.tar.gz"
    httpd.shutdown()


def test_cifar10_is_downloaded_verified_and_normalised(server, tmp_path, monkeypatch):
    monkeypatch.delenv("OPEMBED_DATA", raising=False)
    (folder, url), good = server, archive()
    monkeypatch.setattr(networks, "CIFAR10", CIFAR10._replace(url=url, sha256=hashlib.sha256(good).hexdigest()))
    (folder / "cifar-10-binary.tar.gz").write_bytes(good[:-100])
    with pytest.raises(OpembedError, match="sha256 is not"):
        cifar10_images(tmp_path / "cache", valid=20)
    (folder / "cifar-10-binary.tar.gz").write_bytes(archive(rows=21))
    with pytest.raises(OpembedError, match="sha256 is not"):
        cifar10_images(tmp_path / "cache", valid=20)
    (folder / "cifar-10-binary.tar.gz").write_bytes(good)
    images = cifar10_images(tmp_path / "cache", valid=20)
    assert [len(x) for x, _ in (images.train, images.valid, images.test)] == [80, 20, 20]
    assert images.train[0].mean((0, 2, 3)).abs().max() < 1e-5 and (images.train[0].std((0, 2, 3)) - 1).abs().max() < 1e-4
    assert len(cifar10_images(tmp_path / "cache", valid=0).train[0]) == 100
    with pytest.raises(OpembedError, match="valid = 100: the archive has 100 train images"):
        cifar10_images(tmp_path / "cache", valid=100)
    sizes, schedule = NetSizes(4, 3, auxiliary=True), Schedule(1, 40, cycle=1)
    assert train_supernet(images, ENAS, sizes, schedule)[1][0]["loss"] > 0


def test_crops_shift_and_mirror_whole_images():
    images = torch.arange(1.0, 26).view(1, 1, 5, 5).expand(300, 1, 5, 5)
    out, padded = crop_and_flip(images, generator(), pad=1), torch.nn.functional.pad(images[0, 0], (1,) * 4)
    crops = [padded[r : r + 5, c : c + 5] for r in range(3) for c in range(3)]
    allowed = {tuple(c.flatten().tolist()) for crop in crops for c in (crop, crop.flip(1))}
    seen = {tuple(row) for row in out.flatten(1).tolist()}
    assert seen == allowed  # all eighteen, and none other
    assert torch.equal(out, crop_and_flip(images, generator(), pad=1))


def test_every_tensor_is_made_on_the_device_of_its_inputs(tmp_path):
    architecture = random_architectures(1, ENAS, generator())
    with torch.device("meta"):
        images = digit_images()
        net, _ = train_supernet(images, ENAS, TINY, Schedule(1, cycle=1))
        oracle = load_oracle(load_dataset("enas-digits"))
        values = [
            oracle(architecture),
            images.valid[0],
            next(net.parameters()),
            next(to_module(architecture).parameters()),
            next(to_module(architecture, oracle.net).parameters()),
            next(train_fully(architecture, images, sizes=TINY, schedule=Schedule(1, cycle=1)).net.parameters()),
        ]
    assert all(v.device.type == "cpu" for v in values)
