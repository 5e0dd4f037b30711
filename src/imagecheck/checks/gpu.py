"""GPUs: all that the host has, with a driver and kernels that fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagecheck.bench import Bench, Blocked
from imagecheck.outcome import Finding, failed, passed
from imagecheck.registry import promise

TENTH = 0.1  # less free memory than this share, on a card nothing was started on, is someone else's


def document(bench: Bench) -> Mapping[str, Any]:
    """Raises Blocked where the image is given no GPU, for then there is nothing to see."""
    if bench.host_gpus == 0:
        raise Blocked("no GPU is given to the image: the host has none, --gpu off hides it, or the engine is Podman")
    return bench.torch_probe("gpu")


def cards(bench: Bench, fact: str) -> list[Mapping[str, Any]]:
    """The cards torch sees. Raises Blocked where it sees none, or where one does not tell `fact`."""
    found: list[Mapping[str, Any]] = document(bench)["cards"]
    if not found:
        raise Blocked("torch sees no GPU: see gpu.visible")
    if any(fact not in card for card in found):
        raise Blocked("a GPU does not answer: see gpu.visible")
    return found


@promise("gpu.visible", "torch sees as many GPUs as the host has, and each one computes")
def visible(bench: Bench) -> Finding:
    seen = document(bench)
    found, wanted = seen["cards"], bench.host_gpus
    facts = {"devices": seen["devices"], "cards": found, "driver": seen["driver"]}
    if len(found) < wanted:
        return failed(
            f"torch sees {len(found)} of {wanted} GPUs",
            remedy="set NVIDIA_VISIBLE_DEVICES=all and NVIDIA_DRIVER_CAPABILITIES=compute,utility in the image; drop a"
            " libcuda.so stub from its library path; on the host, nvidia-smi names a lost GPU",
            **facts,
        )
    lost = [card for card in found if card.get("answer") != 64.0**3]
    if lost:
        return failed(
            f"{lost[0]['name']} does not compute: {lost[0].get('error', 'a wrong product')}",
            remedy="see gpu.driver and gpu.kernels; if neither fails, dmesg on the host shows the Xid: reset or replace"
            " the card",
            **facts,
        )
    return passed(f"{len(found)} x {found[0]['name']}", **facts)


@promise("gpu.driver", "the driver is new enough for the CUDA this torch was built for")
def driver(bench: Bench) -> Finding:
    seen = document(bench)
    if not seen["cuda"]:
        raise Blocked("this torch was built without CUDA")
    major, minor = (int(part) for part in seen["cuda"].split(".")[:2])
    offered = (seen["driver_cuda"] // 1000, seen["driver_cuda"] % 1000 // 10)
    told = f"driver {seen['driver']} offers CUDA {offered[0]}.{offered[1]}, torch was built for {seen['cuda']}"
    # Within a major release a driver of any minor will do (CUDA Compatibility, "minor version compatibility").
    if offered[0] < major:
        return failed(
            told, remedy=f"update the host's driver to one for CUDA {major}, or take a torch built for an older CUDA"
        )
    return passed(told, minor=minor)


@promise("gpu.kernels", "this torch holds kernels for every GPU it sees")
def kernels(bench: Bench) -> Finding:
    found, arches = cards(bench, "capability"), document(bench)["arch_list"]
    for card in found:
        if not covered(tuple(card["capability"]), arches):
            major, minor = card["capability"]
            return failed(
                f"{card['name']} is sm_{major}{minor}; this torch holds {', '.join(arches)}",
                remedy="take a torch release or CUDA variant that was built for this card",
            )
    return passed(f"sm_{found[0]['capability'][0]}{found[0]['capability'][1]} of {', '.join(arches)}")


def covered(capability: tuple[int, int], arches: list[str]) -> bool:
    """A cubin runs on its own major release from its minor up; PTX (`compute_`) on anything newer."""
    for arch in arches:
        kind, _, digits = arch.partition("_")
        number = digits.rstrip("af")
        built = (int(number[:-1]), int(number[-1]))
        exact = digits != number  # sm_90a: for that architecture alone
        if kind == "sm" and built[0] == capability[0] and built[1] <= capability[1] and not exact:
            return True
        if built == capability or (kind == "compute" and built <= capability):
            return True
    return False


@promise("gpu.memory", "every GPU has its memory free")
def memory(bench: Bench) -> Finding:
    found = cards(bench, "free")
    for index, card in enumerate(found):
        if card["free"] < TENTH * card["total"]:
            return failed(
                f"GPU {index}: {card['free'] // 2**20} of {card['total'] // 2**20} MiB are free",
                remedy="another process holds the card: nvidia-smi on the host names it",
            )
    return passed(", ".join(f"{card['total'] / 2**30:.0f} GiB" for card in found))
