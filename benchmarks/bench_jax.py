"""Cost of a draw in JAX, as ratios within one run: paired and alternating, after compilation.

Target, beside `jax.nn.initializers.he_normal` over the convolutions of a ResNet-50 that have several taps:
at most 1.3 times its time. Without JAX a line says so, and nothing is measured.
"""

import statistics
import sys
import time
from collections.abc import Callable

REPEATS = 15
BLOCKS = {64: 3, 128: 4, 256: 6, 512: 3}
SHAPES = [(7, 7, 3, 64), *((3, 3, width, width) for width, blocks in BLOCKS.items() for _ in range(blocks))]


def main() -> None:
    try:
        import jax
    except ImportError:
        print("drawing in JAX: not measured, as JAX is not installed: pip install jax")
        return
    from corrinit.jax import correlated_kaiming_normal

    def compiled(init: Callable[..., jax.Array]) -> Callable[[jax.Array], list[jax.Array]]:
        one = jax.jit(init, static_argnums=1)  # once for each shape: compiling is what takes long

        def draw(key: jax.Array) -> list[jax.Array]:
            keys = jax.random.split(key, len(SHAPES))
            return [one(key, shape) for key, shape in zip(keys, SHAPES, strict=True)]

        return draw

    def seconds(draw: Callable[[jax.Array], list[jax.Array]], key: jax.Array) -> float:
        start = time.perf_counter()
        jax.block_until_ready(draw(key))
        return time.perf_counter() - start

    draws = {
        "he_normal": compiled(jax.nn.initializers.he_normal()),
        "correlated": compiled(correlated_kaiming_normal("exponential:0.3")),
        "deviations": compiled(correlated_kaiming_normal("exponential:0.3+centre:0.8")),
    }
    times: dict[str, list[float]] = {name: [] for name in draws}
    for draw in draws.values():
        seconds(draw, jax.random.key(0))  # compiles
    for repeat in range(REPEATS):
        for name, draw in draws.items():
            times[name].append(seconds(draw, jax.random.key(repeat)))
    print(f"drawing the convolutions of a ResNet-50 in JAX on {jax.devices()[0].platform}")
    for name, what in (
        ("correlated", "correlated / he_normal"),
        ("deviations", "with deviations / he_normal"),
    ):
        ratios = [this / that for this, that in zip(times[name], times["he_normal"], strict=True)]
        print(f"  {what:30} best {min(ratios):5.2f}   median {statistics.median(ratios):5.2f}   target ≤ 1.3")


if __name__ == "__main__":
    sys.exit(main())
