#!/usr/bin/env python3
"""Prints the expected values of kernels/tests/reference_test.cpp, computed by PyTorch in float64.

Inputs are wave(i, phase) = float32(sin(0.7 i + phase)), so that both sides can make them. Needs torch; only run to change the test.
"""
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def wave(phase, *shape, scale=1.0):
    count = math.prod(shape)
    values = torch.tensor([math.sin(0.7 * i + phase) * scale for i in range(count)])
    return values.float().double().reshape(shape)


def show(name, tensor):
    values = ", ".join(f"{v:.9g}" for v in tensor.flatten().tolist())
    print(f"{name}: {{{values}}}")


def rms(x, eps):
    return F.rms_norm(x, x.shape[-1:], eps=eps)


def norms():
    x, w, z = wave(0, 2, 5), wave(1, 5), wave(2, 2, 5)
    show("rms_norm", rms(x, 1e-3) * w)
    show("gated_rms_norm", rms(x, 1e-3) * w * F.silu(z))
    show("l2_norm", x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-3) * 0.5)


def elementwise():
    x, y = wave(0, 2, 3, scale=3), wave(1, 2, 3)
    show("add_gated", x + torch.sigmoid(wave(2, 2, 1)) * y)
    show("swiglu", F.silu(x) * y)
    show("sigmoid_gate", x * torch.sigmoid(y))


def conv():
    x, w, state = wave(0, 3, 2), wave(1, 2, 4), wave(2, 3, 2)
    padded = torch.cat([state, x]).T.unsqueeze(0)
    show("conv1d_silu", F.silu(F.conv1d(padded, w.unsqueeze(1), groups=2)).squeeze(0).T)


def gates():
    a, b, ssm_a, dt = wave(0, 2, 3, scale=30), wave(1, 2, 3), -wave(2, 3).abs(), wave(3, 3)
    show("gdn_gates g", ssm_a * F.softplus(a + dt, threshold=1e9))
    show("gdn_gates beta", torch.sigmoid(b))


def gdn(order):
    tokens, nk, nv, d = 3, 2, 4, 2
    q, k, v = wave(0, tokens, nk, d), wave(1, tokens, nk, d), wave(2, tokens, nv, d)
    g, beta, state = -wave(3, tokens, nv).abs(), wave(4, tokens, nv).abs(), wave(5, nv, d, d)
    heads = [p % nk for p in range(nv)] if order == "tiled" else [p // (nv // nk) for p in range(nv)]
    outs = []
    for t in range(tokens):
        kt, qt = k[t][heads], q[t][heads]
        state = state * g[t].exp()[:, None, None]
        delta = beta[t][:, None] * (v[t] - torch.einsum("hkv,hk->hv", state, kt))
        state = state + torch.einsum("hk,hv->hkv", kt, delta)
        outs.append(torch.einsum("hkv,hk->hv", state, qt))
    show(f"gdn {order} out", torch.stack(outs))
    show(f"gdn {order} state", state)


def rope():
    x, rotary, theta, first = wave(0, 4, 6), 4, 100.0, 5  # two tokens of two heads
    position = torch.tensor([first, first, first + 1, first + 1]).double()
    angle = position[:, None] * theta ** (-torch.arange(0, rotary, 2) / rotary)
    rotated = torch.polar(torch.ones_like(angle), angle) * torch.complex(x[:, :2], x[:, 2:4])
    show("rope", torch.cat([rotated.real, rotated.imag, x[:, 4:]], dim=1))


def attention():
    past, tokens, nh, nkv, hd = 1, 2, 4, 2, 2
    q, k, v = wave(0, tokens, nh, hd), wave(1, past + tokens, nkv, hd), wave(2, past + tokens, nkv, hd)
    mask = torch.ones(tokens, past + tokens).tril(past).bool()
    k, v = (m.repeat_interleave(nh // nkv, 1).transpose(0, 1) for m in (k, v))
    out = F.scaled_dot_product_attention(q.transpose(0, 1), k, v, attn_mask=mask, scale=0.75)
    show("attention", out.transpose(0, 1))


def moe():
    experts, width, hidden, k = 4, 3, 2, 2
    p = wave(0, 2, experts, scale=2).softmax(-1)
    w, ids = p.topk(k)
    show("moe_route ids", ids)
    show("moe_route weights", w)
    show("moe_route normalized", w / w.sum(-1, keepdim=True))
    x, gate, up, down = wave(1, 2, hidden), wave(2, experts, width, hidden), wave(3, experts, width, hidden), wave(4, experts, hidden, width)
    out = torch.zeros_like(x)
    for t in range(2):
        for n in range(k):
            e = ids[t, n]
            out[t] += w[t, n] * (down[e] @ (F.silu(gate[e] @ x[t]) * (up[e] @ x[t])))
    show("moe_experts", out)


norms()
elementwise()
conv()
gates()
gdn("tiled")
gdn("grouped")
rope()
attention()
moe()
