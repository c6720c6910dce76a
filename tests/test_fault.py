"Chapter 8b: a supernet that ignores operations, what its records say, and what the page claims."

import pytest
import torch

from opembed_nb.data import ASSETS, ENAS, DAGBatch, OpembedError, cat_batches, random_architectures
from opembed_nb.networks import (
    NetSizes,
    Schedule,
    Supernet,
    digit_images,
    layers_of,
    load_supernet,
    save_supernet,
    to_module,
    train_supernet,
)
from opembed_nb.oracle import WeightSharingOracle

FAULT, TINY = "last branch", NetSizes(4)
WEIGHTS = ASSETS / "enas-digits-supernet.safetensors"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same_wiring(batch, seed):
    "The wirings of a batch with operations drawn at random."
    ops = random_architectures(len(batch), ENAS, generator(seed)).ops
    return DAGBatch(ops, batch.adj, batch.n_nodes)


@pytest.fixture(scope="module")
def faulty():
    "The packaged supernet's weights, in a network with the fault."
    net = Supernet(ENAS, load_supernet(WEIGHTS).sizes, FAULT)
    net.load_state_dict(load_supernet(WEIGHTS).state_dict())
    return net.eval()


def test_with_the_fault_all_architectures_of_one_wiring_are_one(faulty):
    x = digit_images().valid[0][:300]
    batch = random_architectures(8, ENAS, generator(1))
    other, sound = same_wiring(batch, 2), load_supernet(WEIGHTS)
    assert not torch.equal(batch.ops, other.ops)
    with torch.no_grad():
        for a, b in zip(layers_of(batch), layers_of(other)):
            last = tuple((5, skips) for _, skips in a)
            assert torch.equal(faulty(x, a), faulty(x, b))
            assert torch.equal(faulty(x, a), sound(x, last))  # six poolings, and nothing else
            assert not torch.equal(sound(x, a), sound(x, b))


def test_without_the_fault_nothing_has_changed():
    "Hooks on all operations: those asked for are applied, and no others."
    x, net, applied = digit_images().valid[0][:50], load_supernet(WEIGHTS), []
    for i, choices in enumerate(net.operations):
        for k, module in enumerate(choices):
            module.register_forward_hook(lambda *_, at=(i, k): applied.append(at))
    assert net.fault is None
    for layers in layers_of(random_architectures(5, ENAS, generator(3))):
        assert net.applied(layers) is layers
        applied.clear()
        net(x, layers)
        assert applied == [(i, k) for i, (k, _) in enumerate(layers)]


def test_both_begin_with_the_same_weights_and_train_on_the_same_wirings():
    "What differs after training is the fault's doing."
    images, schedule = digit_images(), Schedule(1, cycle=1)
    sound, _ = train_supernet(images, ENAS, TINY, schedule)
    again, _ = train_supernet(images, ENAS, TINY, schedule, fault=None)
    faulty, _ = train_supernet(images, ENAS, TINY, schedule, fault=FAULT)
    torch.manual_seed(schedule.seed)
    start = Supernet(ENAS, TINY).state_dict()
    moved = {name: not torch.equal(start[name], w) for name, w in faulty.state_dict().items()}
    used = [name.split(".")[2] == "5" for name in moved if name.startswith("operations.")]
    assert [moved[n] for n in moved if n.startswith("operations.")] == used
    pairs = zip(sound.state_dict().values(), again.state_dict().values())
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("wrong", ["first branch", "", True])
def test_an_unknown_fault_is_one_line(wrong):
    with pytest.raises(OpembedError, match="fault = .* is unknown; None, or 'last branch'") as e:
        Supernet(ENAS, TINY, wrong)
    assert "\n" not in str(e.value)


def test_a_fault_is_kept_with_the_weights_and_named_with_the_scores(faulty, tmp_path):
    file = tmp_path / "net.safetensors"
    save_supernet(file, faulty)
    again = load_supernet(file)
    assert again.fault == FAULT
    assert load_supernet(WEIGHTS).fault is None
    save_supernet(file, load_supernet(WEIGHTS))
    assert b"fault" not in file.read_bytes()[:4000]  # sound ones are written as ever
    images = digit_images()
    x, y = images.valid
    few = images._replace(valid=(x[:600], y[:600]))
    trained, _ = train_supernet(images, ENAS, NetSizes(8), Schedule(8, cycle=8), fault=FAULT)
    oracle = WeightSharingOracle(trained, few)
    assert oracle.name == "weight sharing on digits with the fault 'last branch'"
    assert WeightSharingOracle(load_supernet(WEIGHTS), few).name == "weight sharing on digits"
    batch = random_architectures(6, ENAS, generator(4))
    scores = oracle(cat_batches([batch, same_wiring(batch, 5)]))
    assert torch.equal(scores[:6], scores[6:])


def test_a_module_of_a_faulty_supernet_does_what_the_supernet_does(faulty):
    x = digit_images().valid[0][:100]
    one = random_architectures(1, ENAS, generator(6))
    with torch.no_grad():
        module = to_module(one, faulty)
        assert torch.allclose(module(x), faulty(x, layers_of(one)[0]), atol=1e-5)
