"""Arithmetic against float64: numerics.py DEVICE. Each line holds the error seen and the bound it must keep.

matmul      |computed - exact| <= gamma_K |A||B| elementwise, gamma_K = K u / (1 - K u), u = 2^-24
            (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.5). K is 64, small enough that
            TF32 (u = 2^-11) or bfloat16 inputs break it.
attention   scaled dot product attention and its gradients, float32: 1e-5 of the largest element
autocast    a linear layer under autocast, in the dtype asked for: 4 units in the last place of that dtype, of the
            largest element
"""

from __future__ import annotations

import json
import math
import sys

import torch
import torch.nn.functional as F
from torch import nn


def line(error: torch.Tensor, bound: float, **facts: object) -> dict[str, object]:
    seen = float(error.detach())
    return {"error": seen, "bound": bound, "holds": seen <= bound, **facts}


def matmul(device: str) -> dict[str, object]:
    k, unit = 64, 2.0**-24
    a, b = torch.randn(256, k, device=device), torch.randn(k, 256, device=device)
    exact = a.double() @ b.double()
    gamma = k * unit / (1 - k * unit)
    ratio = ((a @ b).double() - exact).abs() / (a.double().abs() @ b.double().abs())
    return line(ratio.max(), gamma, k=k)


def exact_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(-1) @ v


def attention(device: str) -> dict[str, object]:
    inputs = [torch.randn(2, 4, 64, 32, device=device) for _ in range(3)]
    ours = [x.clone().requires_grad_() for x in inputs]
    exact = [x.double().requires_grad_() for x in inputs]
    out, out_exact = F.scaled_dot_product_attention(*ours, is_causal=True), exact_attention(*exact)
    out.square().sum().backward()
    out_exact.square().sum().backward()
    pairs = [(out, out_exact), *((ours[i].grad, exact[i].grad) for i in range(3))]
    return line(max((x.double() - y).abs().max() / y.abs().max() for x, y in pairs), 1e-5)


def autocast(device: str, dtype: torch.dtype) -> dict[str, object]:
    layer, x = nn.Linear(128, 128).to(device), torch.randn(64, 128, device=device)
    exact = x.double() @ layer.weight.double().t() + layer.bias.double()
    with torch.autocast(device, dtype=dtype), torch.no_grad():
        out = layer(x)
    error = (out.double() - exact).abs().max() / exact.abs().max()
    return line(error, 4 * torch.finfo(dtype).eps, asked=str(dtype), given=str(out.dtype))


def convolution(device: str) -> dict[str, object]:
    """On a GPU this is cuDNN's: forward and backward against float64 on the CPU, 1e-5 of the largest element."""
    torch.backends.cudnn.allow_tf32 = False
    x, weight = torch.randn(4, 8, 16, 16), torch.randn(16, 8, 3, 3)
    ours = [x.to(device, copy=True).requires_grad_(), weight.to(device, copy=True).requires_grad_()]
    exact = [x.double().requires_grad_(), weight.double().requires_grad_()]
    out, out_exact = F.conv2d(*ours, padding=1), F.conv2d(*exact, padding=1)
    out.square().sum().backward()
    out_exact.square().sum().backward()
    pairs = [(out, out_exact), *((ours[i].grad, exact[i].grad) for i in range(2))]
    return line(max((x.double().cpu() - y).abs().max() / y.abs().max() for x, y in pairs), 1e-5)


def main() -> None:
    device = sys.argv[1]
    torch.manual_seed(0)
    torch.set_num_threads(1)  # tiny operands
    document = {
        "device": device,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "precision": torch.get_float32_matmul_precision(),
        "matmul": matmul(device),
        "attention": attention(device),
        "autocast_bf16": autocast(device, torch.bfloat16),
        "autocast_fp16": autocast(device, torch.float16),
        "convolution": convolution(device),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
