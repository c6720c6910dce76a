"""The supernet and what hangs on it: images, weight sharing, single architectures,
full training, CIFAR-10's archive."""

import hashlib
import io
import json
import resource
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from common import refused_as

import opembed_nb.hood.networks as networks
import opembed_nb.oracle as oracle_module
from opembed_nb.data import ENAS, SearchSpace, random_architectures
from opembed_nb.hood.files import ASSETS, OpembedError
from opembed_nb.hood.networks import (
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
from opembed_nb.hood.records import load_tensors, save_tensors
from opembed_nb.hood.sources import load_dataset, read_structures
from opembed_nb.oracle import (
    Oracle,
    WeightSharingOracle,
    load_oracle,
    make_digits,
    ranking_study,
    reliability,
)
from tests.warm import python

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


# images


def test_every_image_is_disturbed_by_its_own_draw_and_the_generator_alone():
    same = torch.rand(1, 1, 8, 8, generator=generator()).expand(20, 1, 8, 8)
    moved = disturb(same, generator(1))
    assert torch.equal(moved, disturb(same, generator(1)))
    assert len(disturb(same, generator(1), noise=0).flatten(1).unique(dim=0)) == 20
    still = disturb(same, generator(1), turn=0, shift=0, scale=0, noise=0)
    assert torch.allclose(still, same, atol=1e-5)


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
    target = torch.from_numpy(load_digits().target)[order].long()
    n_train = len(images.train[0])
    assert torch.equal(images.train[1], target[:n_train])
    valid, labels = images.valid
    digits = len(valid) // VIEWS
    assert torch.equal(labels.view(VIEWS, digits)[0], labels.view(VIEWS, digits)[-1])
    assert torch.equal(labels[:digits], target[n_train : n_train + digits])


# supernet and oracle


def test_sharing_the_beginning_changes_no_bit(oracle):
    batch = random_architectures(12, ENAS, generator(3))
    batch.ops[:6, 1:4] = batch.ops[0, 1:4]
    batch.adj[:6, :, :4] = batch.adj[0, :, :4]
    alone = torch.stack([oracle.hits(batch[i])[0] for i in range(12)])
    assert torch.equal(oracle.hits(batch), alone)
    order = torch.randperm(12, generator=generator())
    assert torch.equal(oracle.hits(batch[order]), alone[order])


def test_a_skip_adds_the_output_of_its_node():
    net = Supernet(ENAS, TINY).eval()
    x = torch.rand(6, 1, 8, 8, generator=generator())
    layers = [(0, ()), (4, (0,)), (2, (1,)), (1, (0, 2)), (5, ()), (3, (0, 4))]
    h = [net.stem(x)]
    s = 0
    for i, (k, sources) in enumerate(layers):
        if i in (2, 4):
            s += 1
            h = [net.halves[f"{j}_{s}"](state) for j, state in enumerate(h)]
        out = net.operations[i][k](h[i]) + sum(h[j] for j in sources)
        h.append(net.norms[i](out))
    assert torch.allclose(net(x, tuple(layers)), net.head(h[-1]), atol=1e-5)


def test_labels_are_what_the_oracle_says_and_are_reliable(oracle):
    data = load_dataset("enas-digits")
    assert isinstance(oracle, Oracle)
    assert len(data) == 20_000
    assert oracle.space == data.space
    rows = torch.arange(7, 20_000, 250)
    hits = oracle.hits(data.batch[rows])
    assert (hits.float().mean(1) - data.accuracy[rows]).abs().max() < 0.004
    found = reliability(hits, VIEWS)
    assert found["half_r"] >= 0.95
    assert found["std"] >= 4 * found["error"]
    card = json.loads((ASSETS / "enas-digits.json").read_text())
    assert card["oracle"] == oracle.version
    assert card["half_r"] >= 0.95
    assert card["std"] >= 4 * card["error"]
    assert abs(card["mean"] - float(data.accuracy.mean())) < 1e-6
    structures = (ASSETS / "enas-digits.txt.gz").read_bytes()
    assert card["sha256"] == hashlib.sha256(structures).hexdigest()


def test_what_is_embedded_is_small():
    assert (ASSETS / "enas-digits.txt.gz").stat().st_size <= 600_000
    assert (ASSETS / "enas-digits-supernet.safetensors").stat().st_size <= 400_000


def test_reliability_sees_noise_and_signal():
    probability = torch.linspace(0.3, 0.9, 100)[:, None].expand(100, 1800)
    signal = torch.rand(100, 1800, generator=generator()) < probability
    noise = torch.rand(100, 1800, generator=generator()) < 0.6
    assert reliability(signal, 3)["half_r"] > 0.95
    assert abs(reliability(noise, 3)["half_r"]) < 0.35
    assert abs(reliability(noise, 3)["error"] - (0.24 / 1800) ** 0.5) < 0.001
    copies = noise[:, :600].repeat(1, 3)  # views that are copies add no information
    assert abs(reliability(copies, 3)["error"] - (0.24 / 600) ** 0.5) < 0.002


@pytest.mark.parametrize(
    "name, change, says",
    [
        ("stem.0.weight", lambda t: t[:2], r"does not fit \(\(2, 1, 3, 3\) in place of \(4,"),
        ("stem.0.weight", lambda t: None, r"does not fit \(nothing in place of \(4,"),
        ("extra", lambda t: torch.ones(2), r"does not fit \(\(2,\) in place of nothing\)"),
        ("head.4.bias", lambda t: t * float("nan"), "holds a number that is not finite"),
    ],
)
def test_weights_that_do_not_fit_are_named(name, change, says, tmp_path):
    net, file = Supernet(ENAS, TINY), tmp_path / "net.safetensors"
    save_supernet(file, net)
    tensors, meta = load_tensors(file)
    tensors |= {name: change(tensors.get(name))}
    save_tensors(file, {k: t for k, t in tensors.items() if t is not None}, **meta)
    refused_as(f"net.safetensors: tensor '{name}' {says}", load_supernet, file)


def score(net=TINY, **parts):
    return lambda images: WeightSharingOracle(Supernet(ENAS, net), images._replace(
        **{name: change(*getattr(images, name)) for name, change in parts.items()}))  # fmt: skip


def learn(**parts):
    return lambda images: train_supernet(images._replace(
        **{name: change(*getattr(images, name)) for name, change in parts.items()}), ENAS, TINY,
        BRIEF)  # fmt: skip


def of_space(*space, **more):
    return lambda images: Supernet(SearchSpace(*space, **more))


def of_two(call):
    return lambda images: call(random_architectures(2, ENAS, generator()), images)


def source_with_two_heads(images):
    sizes = NetSizes(4, auxiliary=True)
    return to_source(to_module(random_architectures(1, ENAS, generator()), sizes=sizes))


def deeper(images):
    deep = SearchSpace("deep", ENAS.operations, 7)
    return load_oracle(load_dataset("enas-digits"))(random_architectures(2, deep, generator()))


REFUSALS = [
    (score(), "guessing 0.100; its weights are untrained"),
    (score(replace(TINY, channels=3)), "have 1 channels and 10 classes, the network was made for "
                                       "3 and 10"),
    (score(valid=lambda x, y: (x.repeat(1, 3, 1, 1), y)), "3 channels"),
    (score(valid=lambda x, y: (x[:, 0], y)), r"valid has shape .3000, 8, 8. and 3000 labels"),
    (score(valid=lambda x, y: (x, y[:7])), r"3000, 1, 8, 8. and 7 labels"),
    (score(valid=lambda x, y: (x[..., :3], y)), "8 × 3 pixels are too small to be halved 2 times"),
    (learn(train=lambda x, y: (x[:50], y[:50])), "50 train images are fewer than a minibatch"),
    (learn(train=lambda x, y: (x.repeat(1, 3, 1, 1), y)), "'digits' have 3 channels .* made for 1"),
    (deeper, "9 nodes"),
    (of_space("odd", ("fft",), 6), "no module; known are conv 3×3"),
    (of_space("free", ENAS.operations, 6, chain=False), "no chain"),
    (of_space("short", ENAS.operations, 3), "halved after layers 1 … 2 only"),
    (of_two(lambda two, images: to_module(two)), "2 architectures, a module is made of one"),
    (of_two(train_fully), "2 architectures, one can be trained"),
    (source_with_two_heads, "to_source: the network has an auxiliary head"),
]  # fmt: skip


@pytest.mark.parametrize("call, says", REFUSALS, ids=[says[:30] for _, says in REFUSALS])
def test_what_cannot_be_made_or_trained_is_refused_in_one_line(images, call, says):
    networks.check_images(images, TINY)
    refused_as(says, call, images)


@pytest.mark.parametrize(
    "sizes", [TINY, NetSizes(4, growth=2, auxiliary=True, keep=0.8)], ids=["plain", "grown"]
)
def test_training_the_supernet_resumes_exactly(images, tmp_path, sizes):
    straight, history = train_supernet(images, ENAS, sizes, BRIEF)
    train_supernet(images, ENAS, sizes, BRIEF, tmp_path, stop_after=1)
    torch.rand(3)  # what others draw in between does not matter
    resumed, again = train_supernet(images, ENAS, sizes, BRIEF, tmp_path)
    assert [h["loss"] for h in history] == [h["loss"] for h in again]
    pairs = zip(straight.state_dict().values(), resumed.state_dict().values())
    assert all(torch.equal(a, b) for a, b in pairs)
    with pytest.raises(OpembedError, match="belongs to a run with lr = 0.05, not 0.1"):
        train_supernet(images, ENAS, sizes, replace(BRIEF, lr=0.1), tmp_path)
    x, y = images.train
    others = images._replace(train=(x.flip(0), y))
    with pytest.raises(OpembedError, match="belongs to a run with data = "):
        train_supernet(others, ENAS, sizes, BRIEF, tmp_path)


def test_the_disk_is_full(images, tmp_path, monkeypatch):
    architecture = random_architectures(1, ENAS, generator())
    settings = dict(sizes=TINY, schedule=BRIEF, folder=tmp_path)
    train_fully(architecture, images, stop_after=1, **settings)
    [file] = tmp_path.iterdir()
    before = file.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    refused_as("cannot be written .*No space left", train_fully, architecture, images, **settings)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_make_digits_from_nothing(images, tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS["digits"], "supernet", (NetSizes(8), QUICK))
    facts = make_digits(tmp_path, n=30, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "enas-digits-supernet.safetensors",
        "enas-digits.json",
        "enas-digits.txt.gz",
    ]
    batch, accuracy = read_structures(tmp_path / "enas-digits.txt.gz")
    assert accuracy.mean() > 0.2  # by chance: 0.1
    net = load_supernet(tmp_path / "enas-digits-supernet.safetensors")
    again = WeightSharingOracle(net, images)
    assert again.version == facts["oracle"]
    assert torch.allclose(again(batch), accuracy, atol=0.002)  # a few of 3,000
    card = json.loads((tmp_path / "enas-digits.json").read_text())
    assert card == json.loads(json.dumps(facts))
    assert facts["architectures"] == len(batch) == 30


class Dummy:
    "A training that is over at once."

    def __init__(self, net):
        self.net = net

    def __call__(self, *args):
        return self.net, [dict(epoch=1, loss=1.0, accuracy=0.5, lr=0.1, seconds=1.0)]


@pytest.mark.parametrize(
    "size, file",
    [
        (100, "enas-digits.txt.gz"),
        (10_000, "enas-digits-supernet.safetensors"),
        (None, "enas-digits.json"),
    ],
)
def test_make_digits_on_a_full_disk(disk_of, oracle, tmp_path, monkeypatch, size, file):
    monkeypatch.setattr(oracle_module, "train_supernet", Dummy(oracle.net))
    make_digits(tmp_path, n=3, progress=False)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert len(before) == 3
    if size is None:
        (tmp_path / file).unlink()
        (tmp_path / file).mkdir()
    says, more = f"{file}: cannot be written", dict(n=10, seed=1, progress=False)
    with disk_of(size or resource.RLIM_INFINITY):
        refused_as(says, make_digits, tmp_path, **more)
    assert {f.name for f in tmp_path.iterdir()} == set(before)
    assert size is None or (tmp_path / file).read_bytes() == before[file]


def test_a_supernet_on_a_full_disk(disk_of, tmp_path):
    file = tmp_path / "net.safetensors"
    save_supernet(file, Supernet(ENAS, TINY))
    before, wider = file.read_bytes(), Supernet(ENAS, NetSizes(8))
    with disk_of(10_000):
        refused_as(f"{file}: cannot be written .*free the disk", save_supernet, file, wider)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_a_truncated_supernet_is_named(tmp_path, cut):
    file = tmp_path / "net.safetensors"
    save_supernet(file, Supernet(ENAS, TINY))
    file.write_bytes(file.read_bytes()[:cut])
    said = refused_as("is no whole safetensors file", load_supernet, file)
    assert str(file) in said


def test_a_supernet_that_says_another_width_or_nothing(tmp_path):
    file = tmp_path / "net.safetensors"
    save_supernet(file, Supernet(ENAS, TINY))
    with pytest.raises(OpembedError, match="holds a supernet of .*width=4.* not of .*width=8"):
        load_supernet(file, NetSizes(8))
    tensors, meta = load_tensors(file)
    save_tensors(file, tensors, **{**meta, "sizes": {**meta["sizes"], "width": 8}})
    refused_as("is it of another model, or of other sizes", load_supernet, file)
    for lost in ("space", "sizes"):
        save_tensors(file, tensors, **{k: v for k, v in meta.items() if k != lost})
        refused_as("was not written by save_supernet", load_supernet, file)


def test_the_embedded_supernet_is_the_one_its_schedule_names(oracle):
    sizes, schedule = NETWORKS["digits"]["supernet"]
    net = load_supernet(ASSETS / "enas-digits-supernet.safetensors", sizes)
    assert net.sizes == oracle.net.sizes == sizes
    card = json.loads((ASSETS / "enas-digits.json").read_text())
    assert card["schedule"] == asdict(schedule)
    assert card["sizes"] == {
        **asdict(sizes),
        "pools": list(sizes.pools),
    }


# one architecture


def test_a_module_is_the_supernets_path(oracle):
    images, labels = oracle.images.valid
    x = images[:300]
    for i in range(12):
        architecture = random_architectures(1, ENAS, generator(i))
        module = to_module(architecture, oracle.net)
        with torch.no_grad():
            expected = oracle.net(x, layers_of(architecture)[0])
            assert torch.allclose(module(x), expected, atol=1e-5)
            hits = module(images).argmax(1) == labels
            accuracy = pytest.approx(float(oracle(architecture)), abs=0.002)
            assert hits.float().mean() == accuracy


def test_a_module_has_no_part_that_it_does_not_use():
    for i in range(10):
        net = to_module(random_architectures(1, ENAS, generator(i))).train()
        net(torch.rand(4, 1, 8, 8)).sum().backward()
        assert all(p.grad is not None for p in net.parameters())


ALONE = """
import sys
import torch
from net import Found
case = torch.load("case.pt")
net = Found()
net.load_state_dict(case["state"])
assert torch.allclose(net.eval()(case["x"]), case["out"], atol=1e-6)
assert not any(m.startswith("opembed") for m in sys.modules)
"""


@pytest.mark.parametrize("sizes", [NetSizes(4), NetSizes(6, 3, 7, (1, 3), 2, keep=0.5)])
def test_source_stands_alone(tmp_path, sizes):
    net = to_module(random_architectures(1, ENAS, generator(5)), sizes=sizes)
    x = torch.rand(4, sizes.channels, 8, 8, generator=generator())
    torch.save(dict(state=net.state_dict(), x=x, out=net(x)), tmp_path / "case.pt")
    (tmp_path / "net.py").write_text(to_source(net, "Found"))
    done = python("-c", ALONE, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-800:]


def test_a_module_can_be_exported(oracle):
    for net in (
        to_module(random_architectures(1, ENAS, generator()), oracle.net),
        to_module(random_architectures(1, ENAS, generator(1))),
    ):
        x = oracle.images.valid[0][:50]
        exported = torch.export.export(net, (x,)).module()
        assert torch.allclose(exported(x), net(x), atol=1e-5)


def test_a_module_is_made_on_the_device_of_its_supernet():
    architecture = random_architectures(1, ENAS, generator())
    module = to_module(architecture, Supernet(ENAS, TINY).to("meta"))
    assert next(module.parameters()).device.type == "meta"


# full training


_accuracy = networks._accuracy


@pytest.mark.parametrize(
    "sizes", [TINY, NetSizes(4, growth=2, auxiliary=True, keep=0.5)], ids=["plain", "auxiliary"]
)
def test_full_training_resumes_exactly_and_tests_once(images, tmp_path, monkeypatch, sizes):
    read = []

    def counted(net, x, y):
        read.append(1)
        return _accuracy(net, x, y)

    monkeypatch.setattr(networks, "_accuracy", counted)
    architecture = random_architectures(1, ENAS, generator())
    settings = dict(sizes=sizes, schedule=BRIEF)
    for epochs in (1, 1):
        begun = train_fully(architecture, images, folder=tmp_path, stop_after=epochs, **settings)
        assert begun.accuracy is None
    assert not read
    resumed = train_fully(architecture, images, folder=tmp_path, **settings)
    straight = train_fully(architecture, images, **settings)
    assert len(read) == 2
    assert resumed.accuracy == straight.accuracy
    pairs = zip(straight.net.state_dict().values(), resumed.net.state_dict().values())
    assert all(torch.equal(a, b) for a, b in pairs)
    done = train_fully(architecture, images, folder=tmp_path, **settings)
    assert done.accuracy == straight.accuracy
    assert len(done.history) == 3


def test_full_training_learns(images):
    architecture = random_architectures(1, ENAS, generator(2))
    schedule = Schedule(30, cycle=30)
    trained = train_fully(architecture, images, sizes=NetSizes(8), schedule=schedule)
    assert trained.accuracy > 0.5
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


def test_the_papers_networks_run():
    [layers] = layers_of(random_architectures(1, ENAS, generator()))
    narrow = replace(NETWORKS["cifar10"]["full"][0], width=8)
    net = Network(layers, ENAS, narrow).train()
    logits, auxiliary = net(torch.rand(2, 3, 32, 32))
    assert logits.shape == auxiliary.shape == (2, 10)
    assert net.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    sizes, schedule = NETWORKS["cifar10"]["full"]
    assert (sizes.width, sizes.keep) == (96, 0.5)
    assert (schedule.epochs, schedule.minibatch, schedule.weight_decay) == (310, 100, 2e-4)
    assert NETWORKS["cifar10"]["supernet"][0].width == 36


def test_ranking_in_processes_is_ranking_in_one(oracle, tmp_path):
    batch = random_architectures(2, ENAS, generator())
    one = ranking_study(oracle, batch, BRIEF, seeds=1)
    two = ranking_study(oracle, batch, BRIEF, seeds=1, folder=tmp_path, workers=2)
    assert [a for (a,) in one["alone"]] == pytest.approx([a for (a,) in two["alone"]], abs=0.01)
    assert len(list(tmp_path.iterdir())) == 2


def test_trainings_alone_take_a_device(images, tmp_path, monkeypatch):
    moved = []
    monkeypatch.setattr(networks.Images, "to", lambda self, device: moved.append(device) or self)
    batch = random_architectures(2, ENAS, generator())
    asked = batch, images, ENAS, TINY, Schedule(1, cycle=1)
    there, here = networks.train_each(*asked, device="cpu"), networks.train_each(*asked)
    assert torch.equal(there, here) and [str(device) for device in moved] == ["cpu"] * 2
    refused_as("alone failed", networks.train_each, *asked, device="abacus")


# CIFAR-10

PARTS = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def archive(changes=None, rows=20):
    """An archive in CIFAR-10's form: the bytes of a .tar.gz.

    `changes` adds or replaces members (None leaves one out)."""
    rng = np.random.default_rng(0)
    members = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"}
    for part in PARTS:
        labels = rng.integers(0, 10, (rows, 1))
        pixels = rng.integers(0, 256, (rows, 3072))
        written = np.concatenate([labels, pixels], 1).astype(np.uint8)
        members[f"cifar-10-batches-bin/{part}.bin"] = written.tobytes()
    members |= changes or {}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members.items():
            if content is None:
                continue
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_archive_is_read_as_it_was_written(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(archive())
    (x, y), (x_test, y_test) = read_cifar10(tmp_path / "a.tar.gz")
    assert x.shape == (100, 3, 32, 32)
    assert x.dtype == torch.uint8
    assert y.shape == (100,)
    assert x_test.shape == (20, 3, 32, 32)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, (20, 1))
    assert y[:20].tolist() == labels[:, 0].tolist()
    assert len(labels) == 20
    pixels = rng.integers(0, 256, (20, 3072)).astype(np.uint8)
    assert torch.equal(x[:20].flatten(1), torch.from_numpy(pixels))


def link(name, target):
    info = tarfile.TarInfo(name)
    info.type = tarfile.SYMTYPE
    info.linkname = target
    return info


TEST_BATCH = "cifar-10-batches-bin/test_batch.bin"


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"../../escape.bin": b"x"}, "'../../escape.bin'"),
        ({"/tmp/absolute.bin": b"x"}, "absolute.bin'"),
        ({"cifar-10-batches-bin/extra.pkl": b"x"}, "extra.pkl"),
        ({TEST_BATCH: link(TEST_BATCH, "/etc/passwd")}, "test_batch.bin"),
        ({TEST_BATCH: None}, "test_batch.bin is missing"),
        ({TEST_BATCH: b"x" * 3072}, "3072 bytes, up to 10,000 rows of 3073"),
        ({TEST_BATCH: b"\x0b" + b"x" * 3072}, "label 11"),
    ],
)
def test_hostile_and_broken_archives_are_refused(tmp_path, changes, says):
    file = tmp_path / "a.tar.gz"
    file.write_bytes(archive(changes))
    said = refused_as(says, read_cifar10, file)
    assert str(file) in said
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("cut", [0, 10, 1000, -200])
def test_a_truncated_archive_is_named(tmp_path, cut):
    (tmp_path / "a.tar.gz").write_bytes(archive()[:cut])
    refused_as("no whole archive|missing", read_cifar10, tmp_path / "a.tar.gz")


def test_cifar10_is_downloaded_verified_and_normalised(server, tmp_path, monkeypatch):
    good, url = archive(), server.address + "/cifar-10-binary.tar.gz"
    digest = hashlib.sha256(good).hexdigest()
    monkeypatch.setattr(networks, "CIFAR10", CIFAR10._replace(url=url, sha256=digest))
    for other in (good[:-100], archive(rows=21)):
        server.bodies["/cifar-10-binary.tar.gz"] = other
        refused_as("sha256 is not", cifar10_images, tmp_path / "cache", valid=20)
    server.bodies["/cifar-10-binary.tar.gz"] = good
    images = cifar10_images(tmp_path / "cache", valid=20)
    assert [len(x) for x, _ in (images.train, images.valid, images.test)] == [80, 20, 20]
    assert images.train[0].mean((0, 2, 3)).abs().max() < 1e-5
    assert (images.train[0].std((0, 2, 3)) - 1).abs().max() < 1e-4
    assert len(cifar10_images(tmp_path / "cache", valid=0).train[0]) == 100
    with pytest.raises(OpembedError, match="valid = 100: the archive has 100 train images"):
        cifar10_images(tmp_path / "cache", valid=100)
    sizes = NetSizes(4, 3, auxiliary=True)
    _, history = train_supernet(images, ENAS, sizes, Schedule(1, 40, cycle=1))
    assert history[0]["loss"] > 0


def test_crops_shift_and_mirror_whole_images():
    images = torch.arange(1.0, 26).view(1, 1, 5, 5).expand(300, 1, 5, 5)
    out = crop_and_flip(images, generator(), pad=1)
    padded = torch.nn.functional.pad(images[0, 0], (1,) * 4)
    crops = [padded[r : r + 5, c : c + 5] for r in range(3) for c in range(3)]
    allowed = {tuple(c.flatten().tolist()) for crop in crops for c in (crop, crop.flip(1))}
    seen = {tuple(row) for row in out.flatten(1).tolist()}
    assert seen == allowed  # all eighteen, and none other
    assert torch.equal(out, crop_and_flip(images, generator(), pad=1))


def test_every_tensor_is_made_on_the_device_of_its_inputs(tmp_path):
    architecture = random_architectures(1, ENAS, generator())
    with torch.device("meta"):
        images = digit_images()
        schedule = Schedule(1, cycle=1)
        net, _ = train_supernet(images, ENAS, TINY, schedule)
        oracle = load_oracle(load_dataset("enas-digits"))
        values = [
            oracle(architecture),
            images.valid[0],
            next(net.parameters()),
            next(to_module(architecture).parameters()),
            next(to_module(architecture, oracle.net).parameters()),
        ]
        trained = train_fully(architecture, images, sizes=TINY, schedule=schedule)
        values.append(next(trained.net.parameters()))
    assert all(v.device.type == "cpu" for v in values)
