"""The arithmetic behind docs/parallelism.md: python docs/benchmarks/recipes/plan.py"""

from dataclasses import dataclass
from math import sqrt

GPU = 0.40 * 989e12  # FLOP/s, at the MFU assumed
NVLINK, NETWORK = 350e9, 40e9  # bytes/s a GPU
NODE, LENGTH, ROW = 8, 8192, 8192  # GPUs; tokens
BF16, FP32 = 2, 4
GB = 1e9


@dataclass(frozen=True)
class Model:
    parameters: float
    layers: int
    width: int

    def attention(self) -> float:
        """What attention adds to 6 P operations a token."""
        return 12 * self.layers * self.width * LENGTH / (6 * self.parameters)

    def computing(self, tokens: float, gpus: int) -> float:
        return 6 * self.parameters * tokens / (gpus * GPU)


SMALL, MIDDLE, LARGE = Model(8e9, 32, 4096), Model(70e9, 80, 8192), Model(405e9, 126, 16384)


def ring(size: float, ranks: int) -> float:
    """What each rank sends in an all-gather or a reduce-scatter; an all-reduce is two."""
    return size * (ranks - 1) / ranks


def kept(sharded: float, whole: float) -> tuple[float, float]:
    """GB for weights and two moments in float32, sharded; and with the gradients, which wait whole for a step's end."""
    return 12 * sharded / GB, (12 * sharded + FP32 * whole) / GB


def say(what: str, *values: float, unit: str = "") -> None:
    print(f"{what:64}", *(f"{value:9.3g}{unit}" for value in values))


def sent(what: str, size: float, speed: float) -> None:
    print(f"{what:64} {size / GB:9.4g} GB {size / speed:8.2f} s")


def main() -> None:
    print("Attention adds")
    for name, model in (("8 B", SMALL), ("70 B", MIDDLE), ("405 B", LARGE)):
        say(f"  {name}", 100 * model.attention(), unit=" %")

    print("\n8 B, FSDP 8 in a node; two rows of 8192 tokens a micro-batch, gradients reduced once a step")
    share = SMALL.parameters / NODE
    say("  weights and moments a GPU; with whole gradients, GB", *kept(share, SMALL.parameters))
    say("  with gradients reduced each micro-batch, GB", (12 + FP32) * share / GB)
    for gpus, tokens in ((8, 2**20), (64, 2**22)):
        micro_batches = tokens / gpus / (2 * ROW)
        say(f"  {gpus} GPUs: micro-batches; computing, s", micro_batches, SMALL.computing(tokens, gpus))
        gathers = 2 * micro_batches * ring(BF16 * SMALL.parameters, NODE)
        sent("  in the node", gathers + ring(FP32 * SMALL.parameters, NODE), NVLINK)
        reduced = micro_batches * ring(FP32 * SMALL.parameters, NODE)
        sent("  in the node, gradients reduced each micro-batch", gathers + reduced, NVLINK)
        sent("  in the node, one row a micro-batch", 2 * gathers + ring(FP32 * SMALL.parameters, NODE), NVLINK)
    sent("  between nodes: gradients all-reduced over 8 replicas", 2 * ring(FP32 * share, 8), NETWORK)

    print("\n70 B, TP 8 in a node, FSDP over nodes; one row a micro-batch")
    share = MIDDLE.parameters / NODE
    row = MIDDLE.computing(ROW, NODE)
    gather = 2 * ring(BF16 * share, NODE)
    inside = MIDDLE.layers * 4 * 2 * ring(ROW * MIDDLE.width * BF16, NODE)
    say("  computing a row, s", row)
    sent("  gathering for a row, FSDP 8", gather, NETWORK)
    sent("  TP for a row", inside, NVLINK)
    for gpus, tokens in ((64, 2**22), (1024, 2**24)):
        nodes = gpus // NODE
        rows = tokens / nodes / ROW
        gathers = rows * 2 * ring(BF16 * share, nodes)
        say(f"  {gpus} GPUs: rows a node; computing, s", rows, MIDDLE.computing(tokens, gpus))
        say("  weights and moments a GPU; with whole gradients, GB", *kept(share / nodes, share))
        sent("  in the node", rows * inside, NVLINK)
        sent("  between nodes", gathers + ring(FP32 * share, nodes), NETWORK)
        sent("  of it the gathers", gathers, NETWORK)
    sent("  without TP, FSDP 64: a row's gathers", 2 * ring(BF16 * MIDDLE.parameters, 64), NETWORK)
    say("  and its computing, s", MIDDLE.computing(ROW, 1))

    print("\n405 B, TP 8, PP 16, DP 8; 32 micro-batches of a row, eight pieces of the model a stage")
    share, tokens, replicas, stages, pieces = LARGE.parameters / (8 * 16), 2**21, 8, 16, 8
    rows = tokens / replicas / ROW
    say("  all of it a GPU, GB", (BF16 + FP32 + 12) * share / GB)
    say("  float32 weights and moments sharded over DP (ZeRO-1), GB", (BF16 + FP32 + 12 / replicas) * share / GB)
    say("  rows a replica; computing, s", rows, LARGE.computing(tokens, 1024))
    sent("  in the node: TP", rows * LARGE.layers / stages * 4 * 2 * ring(ROW * LARGE.width * BF16, NODE), NVLINK)
    gradients = 2 * ring(FP32 * share, replicas)
    hops = rows * pieces * 2 * ROW * LARGE.width * BF16 / NODE  # forwards and backwards; TP's eight ranks share a row
    sent("  between nodes: gradients", gradients, NETWORK)
    sent("  between nodes: the pipeline's activations", hops, NETWORK)
    sent("  together", gradients + hops, NETWORK)
    say("  bubble, one piece a stage; eight", (stages - 1) / rows, (stages - 1) / rows / pieces)

    print("\nWhat breaks")
    hours = 54 * 24 / 419
    say("  hours between failures on 16384 GPUs", hours)
    say("  days on 1024; on 64", hours * 16 / 24, hours * 256 / 24)
    say("  minutes between checkpoints of a minute, a failure in 2 days", sqrt(2 * 1 * 2 * 24 * 60))


if __name__ == "__main__":
    main()
