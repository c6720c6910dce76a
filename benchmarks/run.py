"""Graphs per second of every model, in training, encoding and stochastic decoding.

    python benchmarks/run.py [--public PATH] [--models dvae dvae-emb …] [--seconds 5]
                             [--weights RUNS]

Decoding is timed three or four times: with fresh weights; ten graphs of each vector; the same with
a decoder made certain (the last layers of its heads times 1,000, so that the likelier decision is
taken nearly always); and, where `--weights` has a trained model, ten graphs of the vector of each
of a hundred architectures. The public code decodes with the very same weights.

Each figure comes with the floating-point operations that the model must do, the share of this
machine's own float32 matrix rate that it reaches (the better of PyTorch's two libraries for it),
and the peak memory in a process of its own. With a clone of the public D-VAE repository the same
work is timed there too, in turns with ours, so that ratios are measured in one run. Results go to
results/speed/.
"""

import argparse
import copy
import importlib.util
import json
import multiprocessing
import platform
import re
import sys
import time
import types
from functools import partial
from pathlib import Path

import torch
from clearly import clearly

ROOT = Path(__file__).parents[1]
HIDDEN, LATENT = 501, 56
PUBLIC = {"dvae": "DVAE", "gcn": "DVAE_GCN", "svae": "SVAE", "graphrnn": "SVAE_GraphRNN"}


def clone(text):
    "An argument: the folder of the public repository, in which the models are in models.py."
    if not Path(text, "models.py").is_file():
        raise argparse.ArgumentTypeError(
            f"{text!r} holds no models.py; name a clone of the public D-VAE repository"
        )
    return Path(text)


def rate(work, seconds):
    "Units of work per second: `work()` does some and says how many."
    work()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        done += work()
    return done / (time.perf_counter() - start)


def matrix_rate(seconds):
    "float32 multiply-adds of this machine, in GFLOP/s, at the models' shapes: rows × 501 × 1503."
    from opembed_nb.hood import sweeps

    found = {}
    for rows in (32, 256, 2048):
        x, w = torch.randn(rows, HIDDEN), torch.randn(3 * HIDDEN, HIDDEN)

        def product(linear, x=x, w=w):
            for _ in range(10):
                linear(x, w)
            return 10 * 2 * x.shape[0] * w.numel()

        libraries = {"torch.mm": torch.nn.functional.linear, "oneDNN": sweeps.product}
        found[rows] = {}
        for library, linear in libraries.items():
            speed = rate(partial(product, linear), seconds)
            found[rows][library] = round(speed / 1e9, 1)
    return found


def multiply_adds(name, batch):
    """Multiply-adds of matrix products for one average graph, per component, in the forward pass.

    A product that the architecture does not need (a message that no node receives, a state that a
    table holds) is not counted.
    """
    from opembed_nb.training import parts_of

    parts = parts_of(name)
    return encoder_adds(name, parts.encoder, batch) | decoder_adds(parts.decoder, batch)


def encoder_adds(name, encoder, batch):
    "Of the paper's encoders by hand, of any other as PyTorch counts them. H: the state's width."
    from opembed_nb.encoders import DVAEEncoder, GCNEncoder, SequenceEncoder

    H, N = HIDDEN, batch.ops.shape[1]
    gru, message = 3 * H * H, 2 * H * H
    if encoder is DVAEEncoder:
        heads = 2 * H * H + 2 * H * LATENT
        return {"encoder sweeps": 2 * (N - 1) * (gru + message), "encoder heads": heads}
    if encoder is GCNEncoder:
        return {"encoder levels": 2 * N * H * H}
    if encoder is SequenceEncoder:
        return {"encoder GRU": (N - 2) * gru}
    return {"encoder": counted(name, batch[slice(0, 256)])}


def counted(name, batch):
    "Multiply-adds of encoding one graph, as PyTorch counts them while it is done."
    from torch.utils.flop_counter import FlopCounterMode

    from opembed_nb.training import build_model

    model = build_model(name, hidden=HIDDEN, latent=LATENT, seed=0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.encode(batch)
    return counter.get_total_flops() / 2 / len(batch)


def decoder_adds(decoder, batch):
    "Of the paper's decoders; any other is left out. N: the nodes, E: an average graph's edges."
    from opembed_nb.decoder import DAGDecoder, GraphRNNDecoder, SequenceDecoder

    H, N, E = HIDDEN, batch.ops.shape[1], float(batch.adj.sum() / len(batch))
    gru, message = 3 * H * H, 2 * H * H
    if decoder is DAGDecoder:
        first = batch.adj & (batch.adj.cumsum(1) == 1)  # a node's edge from its first predecessor
        low = float(first[:, 1:].sum() / len(batch))
        partial = E - (N - 1)  # states between a node's first and last edge
        return {
            "decoder sweep": N * gru + (N - 1) * message,
            "partial states": partial * gru,
            "edge MLP": 4 * H * H * (N - 1 + partial + low) + 4 * H * N * (N - 1) / 2,
            "type MLP": (N - 1) * (2 * H * H + 2 * H * 8),
        }
    steps, heads = (N - 1) * gru, (N - 1) * H * H
    if decoder is SequenceDecoder:
        edges = (N - 1) * H * (H + N - 1)
        return {"decoder GRU": steps + gru, "heads": heads, "edge head": edges}
    if decoder is GraphRNNDecoder:
        edges = (N - 1) ** 2 * (gru + H * H)
        return {"decoder GRU": steps, "heads": heads, "edge GRU and head": edges}
    return {}


def models(name, weights=None):
    "Our model with fresh weights, with a decoder made certain, and trained where there is one."
    from opembed_nb.hood.records import load_tensors
    from opembed_nb.training import build_model, load_weights

    found = {"": build_model(name, hidden=HIDDEN, latent=LATENT, seed=0)}
    certain = found[", certain"] = copy.deepcopy(found[""]).eval()
    with torch.no_grad():
        for head in (certain.decoder.type_head, certain.decoder.edge_head):
            for p in head[-1].parameters():
                p *= 1000
    pattern = f"**/{name}/seed-*/checkpoint.safetensors"
    for path in Path(weights).glob(pattern) if weights else ():
        state = {k[6:]: v for k, v in load_tensors(path)[0].items() if k.startswith("model.")}
        if state["encoder.mu.weight"].shape == (LATENT, HIDDEN):
            found[", trained"] = load_weights(copy.deepcopy(found[""]), state, str(path)).eval()
    return found


def ours(name, data, seconds, weights=None):
    "Closures for each kind of work on our model."
    variants = models(name, weights)
    model = variants[""]
    adam = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    train = data.train.batch
    at = {}

    def training(size):
        def step():
            start = at[size] = (at.get(size, -size) + size) % (len(train) - size)
            model.train()
            adam.zero_grad()
            model.loss(train[slice(start, start + size)]).loss.backward()
            adam.step()
            return size

        return step

    def encoding():
        model.eval()
        model.latents(train[slice(0, 4096)])
        return 4096

    def decoding(repeats, variant=""):
        z = vectors(variants[variant], variant, data, 1000 // repeats)

        def draw():
            variants[variant].eval().sample(z, repeats=repeats)
            return 1000

        return draw

    works = {f"training, batch {size}": training(size) for size in (32, 64, 256)}
    works |= {"encoding": encoding, "decoding": decoding(1)}
    for variant in variants:
        works[f"decoding, 10 of each vector{variant}"] = decoding(10, variant)
    return works


def vectors(model, variant, data, n):
    "Where to decode: at architectures if the model is trained, else at points of a narrow prior."
    if variant == ", trained":
        return model.latents(data.test.batch[slice(0, n)])
    return 0.5 * torch.randn(n, LATENT, generator=torch.Generator().manual_seed(0))


def same_weights(theirs, model):
    """Give the public class our weights.

    It has no learned table, so ours is folded into the weights that read it.
    """
    from opembed_nb.lab.public import to_public

    state, own, table = to_public(model), theirs.state_dict(), model.embedding.table().detach()
    for k in state.keys() & own.keys():
        if state[k].shape != own[k].shape:
            of_type, rest = state[k].split([table.shape[1], state[k].shape[1] - table.shape[1]], 1)
            state[k] = torch.cat([of_type @ table.T, rest], 1)
    theirs.load_state_dict(state, strict=False)
    return theirs


def public(name, path, data, weights=None, device="cpu"):
    "The same work with the public code's classes, or nothing if it has no such model."
    from opembed_nb.hood.formats import to_igraph
    from opembed_nb.training import MODELS

    base = MODELS[name].twin_of or name
    if base not in PUBLIC:
        return {}

    # It is imported there for drawing only.
    sys.modules.setdefault("pygraphviz", types.ModuleType("pygraphviz"))
    sys.path.insert(0, str(path))
    spec = importlib.util.spec_from_file_location("public_models", Path(path, "models.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kwargs = dict(bidirectional=True) if base == "dvae" else {}
    model_class = getattr(module, PUBLIC[base])
    model = model_class(8, 8, 0, 1, hs=HIDDEN, nz=LATENT, **kwargs).to(device)
    adam = torch.optim.Adam(model.parameters(), 1e-4)
    batch = data.train.batch[slice(0, 256)]
    if base in ("svae", "graphrnn"):
        kinds = torch.nn.functional.one_hot(batch.ops[:, 1:], 8).float()
        edges = batch.adj[:, :-1, 1:].transpose(1, 2).float()
        rows = torch.cat([kinds, edges], 2)
        graphs = [rows[i : i + 1].to(device) for i in range(len(batch))]
    else:
        graphs = to_igraph(batch)

    def collate(some):
        return model._collate_fn(some)

    def training():
        model.train()
        adam.zero_grad()
        mu, logvar = model.encode(collate(graphs[:32]))
        model.loss(mu, logvar, collate(graphs[:32]))[0].backward()
        adam.step()
        return 32

    def encoding():
        model.eval()
        with torch.no_grad():
            model.encode(collate(graphs))
        return len(graphs)

    def decoding(variant, one):
        theirs = same_weights(copy.deepcopy(model), one).eval()
        z = vectors(one, variant, data, 256)

        def draw():
            with torch.no_grad():
                theirs.decode(z)
            return len(z)

        return draw

    works = {"training, batch 32": training, "encoding": encoding}
    for variant, one in models(name, weights).items():
        works[f"decoding{variant}"] = decoding(variant, one)
    return works


def public_rate(work, seconds):
    "As `rate`; None where the public code has no such work, or fails at it with today's libraries."
    try:
        return rate(work, seconds) if work else None
    except TypeError as e:
        print(f"  (the public code fails: {e})")
        return None


def peaks(name, data, weights=None):
    "Peak resident memory of each kind of work in MB; nothing where the system does not know it."
    found = {}
    for kind, work in ours(name, data, 1, weights).items():
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            work()
            status = Path("/proc/self/status").read_text()
            found[kind] = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024
        except OSError:
            return {}
    return found


def measure(names, data, seconds, path, weights=None):
    rows, fresh = [], multiprocessing.get_context("spawn")
    for name in names:
        counted = multiply_adds(name, data.train.batch)
        flops = 2 * sum(counted.values())
        theirs = public(name, path, data, weights) if path else {}
        with fresh.Pool(1) as pool:  # a new process: no other model stands in its memory
            peak = pool.apply(peaks, (name, data, weights))
        for kind, work in ours(name, data, seconds, weights).items():
            trains = kind.startswith("training")
            base = "training, batch 32" if trains else kind.replace(", 10 of each vector", "")
            before = public_rate(theirs.get(base), seconds)
            speed = rate(work, seconds)
            need = 3 * flops if trains else None
            rows.append(
                dict(
                    model=name,
                    work=kind,
                    ours=round(speed, 1),
                    public=before and round(before, 1),
                    public_work=base,
                    ratio=before and round(speed / before, 2),
                    gflops=need and round(speed * need / 1e9, 1),
                    peak_memory_mb=peak.get(kind),
                )
            )
            line = f"{name:13} {kind:28} {speed:9.0f}/s"
            if before:
                line += f"  public {before:7.0f}/s  ratio {speed / before:6.1f}"
            print(line, flush=True)
        rows[-1]["multiply_adds"] = {k: round(v / 1e6, 3) for k, v in counted.items()}
    return rows


def depth_figure(folder, seconds):
    "Cost against depth: 6 to 24 layers, DVAE-EMB at a smaller width."
    import matplotlib.pyplot as plt

    from opembed_nb.data import ENAS, SearchSpace, random_architectures
    from opembed_nb.training import build_model

    found = {}
    for layers in (6, 9, 12, 18, 24):
        space = SearchSpace("enas", ENAS.operations, layers)
        model = build_model("dvae-emb", space, hidden=128, seed=0)
        batch = random_architectures(64, space, torch.Generator().manual_seed(0), 0.3)

        def step(model=model, batch=batch):
            model.zero_grad()
            model.loss(batch).loss.backward()
            return len(batch)

        found[layers + 2] = 1000 / rate(step, seconds)
    fig, ax = plt.subplots(figsize=(5, 3), facecolor="white", layout="constrained")
    nodes = torch.tensor(list(found))
    ax.loglog(nodes, list(found.values()), "o-", color="#0072b2", label="measured")
    ax.loglog(nodes, found[8] * (nodes / 8.0) ** 2, "--", color="#999999", label="quadratic")
    ax.set(xlabel="nodes", ylabel="ms per graph, training")
    ax.set(xticks=nodes.tolist(), xticklabels=nodes.tolist())
    ax.minorticks_off()
    ax.legend()
    fig.savefig(folder / "depth.png", dpi=110)
    return {str(k): round(v, 3) for k, v in found.items()}


def profile(data, name="dvae-emb"):
    "Where the time goes, as shares of the processor's own time by operator: Markdown."
    from opembed_nb.hood.records import Table

    works, lines = ours(name, data, 1), []
    for kind in ("training, batch 32", "training, batch 256", "encoding", "decoding"):
        works[kind]()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as watch:
            for _ in range(4):
                works[kind]()
        spent = {e.key: e.self_cpu_time_total for e in watch.key_averages()}
        top = sorted(spent, key=spent.get, reverse=True)[:8]
        rows = [[f"`{key}`", f"{spent[key] / sum(spent.values()):.0%}"] for key in top]
        lines += [f"**{name}, {kind}**", "", Table.of(["operator", "share of time"], rows), ""]
    return "\n".join(lines)


def write(folder, record):
    import matplotlib.pyplot as plt

    from opembed_nb.hood.records import Table

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_text(json.dumps(record, indent=1) + "\n")
    head = ["model", "work", "ours, graphs/s", "public, graphs/s", "ratio"]
    head += ["share of the machine's matrix rate", "peak memory, MB"]
    rows = []
    for r in record["rows"]:
        size = 256 if "256" in r["work"] else 32
        most = max(record["matrix_rate"][str(size)].values())
        cells = [
            r["model"],
            r["work"],
            f"{r['ours']:,.0f}",
            f"{r['public']:,.0f}" if r["public"] else "–",
            f"{r['ratio']:.1f}" if r["public"] else "–",
            f"{r['gflops'] / most:.0%}" if r["gflops"] else "–",
            f"{r['peak_memory_mb']:,}" if r["peak_memory_mb"] else "–",
        ]
        rows.append(cells)
    (folder / "speed.md").write_text(Table.of(head, rows, "llr") + "\n")
    names = list(dict.fromkeys(r["model"] for r in record["rows"]))
    kinds = list(dict.fromkeys(r["work"] for r in record["rows"]))
    fig, ax = plt.subplots(figsize=(8, 3.4), facecolor="white", layout="constrained")
    for i, kind in enumerate(kinds):
        values = [r["ours"] for r in record["rows"] if r["work"] == kind]
        ax.bar([k + i * 0.13 for k in range(len(values))], values, 0.12, label=kind)
    ax.set_yscale("log")
    ticks = [k + 0.32 for k in range(len(names))]
    ax.set(ylabel="graphs per second", xticks=ticks, xticklabels=names)
    ax.tick_params(axis="x", labelsize=8)
    ax.legend(fontsize=7, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    fig.savefig(folder / "speed.png", dpi=110)


def main():
    from opembed_nb.hood.records import provenance
    from opembed_nb.hood.sources import load_dataset
    from opembed_nb.training import MODELS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--public", type=clone, help="a clone of the public D-VAE repository, for ratios"
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seconds", type=float, default=5, help="for each figure")
    parser.add_argument(
        "--weights",
        type=Path,
        help="a folder of runs; trained models found there are decoded with, too",
    )
    args = parser.parse_args()
    torch.manual_seed(0)
    data, folder = load_dataset(), ROOT / "results" / "speed"
    record = dict(
        provenance=provenance(),
        processor=platform.processor() or platform.machine(),
        matrix_rate={str(k): v for k, v in matrix_rate(min(args.seconds, 2)).items()},
    )
    print("float32 matrix rate, GFLOP/s by rows:", record["matrix_rate"], flush=True)
    record["rows"] = measure(args.models, data, args.seconds, args.public, args.weights)
    folder.mkdir(parents=True, exist_ok=True)
    record["ms_per_graph_by_nodes"] = depth_figure(folder, min(args.seconds, 2))
    write(folder, record)
    (folder / "profile.md").write_text(profile(data))
    print((folder / "speed.md").read_text())


if __name__ == "__main__":
    clearly(main)
