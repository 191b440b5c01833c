#!/usr/bin/env python3
"""Reference tensors of a checkpoint, from transformers' own modelling code in float64.

Development only; needs transformers 5.23, torch 2.13, safetensors, and for Q6_K weights a libggml-base.so built without FMA.

    make_model_references.py CHECKPOINT --out FOLDER [--ggml-base LIB]   write golden.safetensors, q6_k.safetensors, tokens.json
    make_model_references.py CHECKPOINT --check FOLDER [--ggml-base LIB] compare with such a folder instead

Eager attention, eager experts, the torch path of the GDN kernels, casts to float32 lifted to float64. Stored as float32:

    logits [T, V], decode_logits [steps, V], logits_short_last, logits_long_last [V]
    hidden.embed, hidden.{i}, hidden.final [T, H]      gdn0.conv_out, beta, g, out [T, ...], state_final, conv_state
    attn3.q, k, v, gate, out [T, ...]                  moe0.router_logits, topk_ids, topk_weights, out [T, ...]

--last-rows N keeps only the last N rows of the intermediates, and not the two GDN states, to keep the files small.
"""
import argparse
import ctypes
import importlib
import json
import pathlib
import random

import numpy
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig

CLASSES = {"qwen3_5_text": ("qwen3_5", "Qwen3_5ForCausalLM"), "qwen3_5_moe_text": ("qwen3_5_moe", "Qwen3_5MoeForCausalLM"),
           "qwen3_next": ("qwen3_next", "Qwen3NextForCausalLM")}
NOT_QUANTIZED = ("conv1d.weight", "mlp.gate.weight", "shared_expert_gate.weight", "in_proj_a.weight", "in_proj_b.weight", "in_proj_ba.weight")


class Float64Torch:
    """The torch module as the modelling code sees it: its casts to float32 keep float64."""
    float32 = float = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


class Recorder:
    """Collects the tensors of one pass over a prompt."""

    def __init__(self, model, modeling):
        self.seen, self.on = {}, False
        layers = model.model.layers
        self.put_output(model.model.embed_tokens, "hidden.embed")
        self.put_output(model.model.norm, "hidden.final")
        for i, layer in enumerate(layers):
            self.put_output(layer, f"hidden.{i}")
        self.put_input(layers[0].linear_attn.out_proj, "gdn0.out")
        self.put_input(layers[3].self_attn.o_proj, "attn3.out")
        layers[3].self_attn.q_proj.register_forward_hook(lambda m, a, out: self.put("attn3.gate", out.unflatten(-1, (-1, 2, 256))[:, :, :, 1].flatten(2)))
        if hasattr(layers[0].mlp, "gate"):
            self.put_output(layers[0].mlp, "moe0.out")
            layers[0].mlp.gate.register_forward_hook(self.put_router)
        self.wrap(modeling, "torch_chunk_gated_delta_rule", self.put_gdn)
        self.wrap(modeling, "eager_attention_forward", self.put_attention)

    def put(self, key, value):
        if self.on and key not in self.seen:  # the first layer of a kind comes first
            self.seen[key] = value[0].detach().clone() if value.ndim > 2 else value.detach().clone()

    def put_output(self, module, key):
        module.register_forward_hook(lambda m, args, out: self.put(key, out))

    def put_input(self, module, key):
        module.register_forward_pre_hook(lambda m, args: self.put(key, args[0]))

    def put_router(self, module, args, out):
        for key, value in zip(("router_logits", "topk_weights", "topk_ids"), out):
            self.put("moe0." + key, value)

    def wrap(self, modeling, name, put):
        original = getattr(modeling, name)

        def wrapped(*args, **kwargs):
            put(*args, **kwargs)
            return original(*args, **kwargs)
        setattr(modeling, name, wrapped)

    def put_gdn(self, query, key, value, g, beta, **kwargs):
        self.put("gdn0.conv_out", torch.cat([x.flatten(2) for x in (query, key, value)], -1))
        self.put("gdn0.g", g)
        self.put("gdn0.beta", beta)

    def put_attention(self, module, query, key, value, *args, **kwargs):
        for name, x in (("q", query), ("k", key), ("v", value)):
            self.put("attn3." + name, x.transpose(1, 2))


def load(checkpoint):
    config = AutoConfig.from_pretrained(checkpoint)
    config = getattr(config, "text_config", config)
    package, name = CLASSES[config.model_type]
    modeling = importlib.import_module(f"transformers.models.{package}.modeling_{package}")
    modeling.torch = Float64Torch()
    torch.Tensor.float = torch.Tensor.double
    model, info = getattr(modeling, name).from_pretrained(checkpoint, config=config, dtype=torch.float64, attn_implementation="eager",
                                                         experts_implementation="eager", output_loading_info=True)
    unexpected = [key for key in info["unexpected_keys"] if not key.startswith(("mtp.", "model.visual."))]
    if info["missing_keys"] or unexpected or info["mismatched_keys"]:
        raise SystemExit(f"{checkpoint} does not load: {info}")
    wrong = {name for name, x in [*model.named_parameters(), *model.named_buffers()] if x.is_floating_point() and x.dtype != torch.float64}
    if wrong:
        raise SystemExit(f"not in float64: {wrong}")
    return model.eval(), modeling


@torch.no_grad()
def run(model, ids, cache=None):
    out = model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True)
    if out.logits.dtype != torch.float64:
        raise SystemExit(f"logits are {out.logits.dtype}")
    return out.logits[0], out.past_key_values


def decode(model, logits, cache, steps, greedy):
    """Greedy ids (found, or as given) and the rows after feeding each."""
    ids, rows = [], []
    for step in range(steps + 1):
        top = logits[-1].topk(2)
        ids.append(greedy[step] if greedy else int(top.indices[0]))
        if not greedy and top.values[0] - top.values[1] < 0.05:
            raise SystemExit(f"greedy step {step} has a margin of {float(top.values[0] - top.values[1])}: take another seed")
        if step < steps:
            logits, cache = run(model, [ids[-1]], cache)
            rows.append(logits[-1])
    return ids, torch.stack(rows)


def references(model, recorder, tokens, steps):
    recorder.seen, recorder.on = {}, True
    logits, cache = run(model, tokens["prompt"])
    recorder.on = False
    found = dict(recorder.seen)
    gdn = cache.layers[0]
    found["gdn0.state_final"] = gdn.recurrent_states[0][0].clone()
    found["gdn0.conv_state"] = gdn.conv_states[0][0][:, -3:].clone()
    found["logits"] = logits
    tokens["greedy"], found["decode_logits"] = decode(model, logits, cache, steps, tokens.get("greedy"))
    for name in ("short", "long"):
        found[f"logits_{name}_last"] = run(model, tokens[f"prompt_{name}"])[0][-1]
    return found


class Q6K:
    def __init__(self, library):
        self.ggml = ctypes.CDLL(library)
        self.ggml.quantize_row_q6_K_ref.argtypes = self.ggml.dequantize_row_q6_K.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]

    def round_trip(self, matrix):
        source = matrix.detach().to(torch.float32).contiguous().numpy()
        if source.shape[-1] % 256:
            raise SystemExit(f"rows of {source.shape[-1]} are no whole blocks")
        packed = numpy.empty(source.size // 256 * 210, numpy.uint8)
        result = numpy.empty_like(source)
        self.ggml.quantize_row_q6_K_ref(source.ctypes.data, packed.ctypes.data, source.size)
        self.ggml.dequantize_row_q6_K(packed.ctypes.data, result.ctypes.data, source.size)
        return torch.from_numpy(result).to(torch.float64)

    def apply(self, model):
        """Every matrix; out_proj of qwen3_5* with its V heads in GGUF's tiled order, then put back."""
        config, done = model.config, set()
        nk, nv = config.linear_num_key_heads, config.linear_num_value_heads
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2 or name.endswith(NOT_QUANTIZED) or parameter.data_ptr() in done:
                continue
            done.add(parameter.data_ptr())
            data = parameter.data
            if name.endswith("linear_attn.out_proj.weight") and config.model_type != "qwen3_next":
                heads = data.unflatten(1, (nk, nv // nk, 128))
                parameter.data = self.round_trip(heads.transpose(1, 2).flatten(1)).unflatten(1, (nv // nk, nk, 128)).transpose(1, 2).flatten(1)
            else:
                parameter.data = self.round_trip(data)


def to_files(found, last_rows):
    files = {}
    for key, value in found.items():
        if last_rows and key.startswith(("hidden.", "gdn0.", "attn3.", "moe0.")):
            if key in ("gdn0.state_final", "gdn0.conv_state"):
                continue
            value = value[-last_rows:]
        files[key] = numpy.ascontiguousarray(value.to(torch.float32).numpy())
    return files


def compare(name, found, folder):
    worst = 0.0
    for key, expected in load_file(folder / f"{name}.safetensors").items():
        if key == "mtp_logits":
            continue
        value = found[key].numpy()
        if value.shape != expected.shape:
            value = value[-len(expected):]
        error = float(numpy.abs(value.reshape(expected.shape) - expected).max() / numpy.abs(expected).max())
        print(f"{name} {key:20} {error:.2e}")
        worst = max(worst, error)
    return worst


def make_tokens(arguments, vocab):
    rng = random.Random(arguments.seed)
    sizes = {"prompt": arguments.prompt, "prompt_short": 1, "prompt_long": arguments.long_prompt}
    return {key: [rng.randrange(vocab) for _ in range(size)] for key, size in sizes.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--check", type=pathlib.Path)
    parser.add_argument("--ggml-base")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=70)
    parser.add_argument("--long-prompt", type=int, default=131)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--last-rows", type=int, default=0)
    arguments = parser.parse_args()
    if (arguments.out is None) == (arguments.check is None):
        parser.error("give one of --out and --check")
    torch.set_grad_enabled(False)

    model, modeling = load(arguments.checkpoint)
    recorder = Recorder(model, modeling)
    if arguments.check:
        tokens = json.loads((arguments.check / "tokens.json").read_text())
        steps = len(tokens["greedy"]) - 1
    else:
        tokens, steps = make_tokens(arguments, model.config.vocab_size), arguments.steps
    golden = references(model, recorder, tokens, steps)
    q6_k = None
    if arguments.ggml_base:
        Q6K(arguments.ggml_base).apply(model)
        coarse = references(model, recorder, tokens, steps)
        q6_k = {key: coarse[key] for key in ("hidden.0", "logits", "decode_logits")}

    if arguments.check:
        worst = compare("golden", golden, arguments.check)
        if q6_k:
            worst = max(worst, compare("q6_k", q6_k, arguments.check))
        print(f"worst {worst:.2e}")
        raise SystemExit(worst > 1e-6)
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file(to_files(golden, arguments.last_rows), arguments.out / "golden.safetensors")
    if q6_k:
        save_file(to_files(q6_k, arguments.last_rows), arguments.out / "q6_k.safetensors")
    (arguments.out / "tokens.json").write_text(json.dumps({key: tokens[key] for key in ("prompt", "prompt_short", "prompt_long", "greedy")}) + "\n")


main()
