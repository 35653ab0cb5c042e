"""What was measured as Markdown; ratios are to the best of the others."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, Final

from benchmarks.peers.contestant import ALL
from benchmarks.peers.job import LONG
from benchmarks.peers.systems import SYSTEMS

GB: Final = 1e9
NONE: Final = "–"
Results = Mapping[str, Any]


def step(found: Results) -> float | None:
    """Seconds of a guided step."""
    return median(found["steps"]) if found.get("steps") else None


def decode(found: Results) -> float | None:
    """Seconds of the decoder."""
    return median(found["decodes"]) if found.get("decodes") else None


def picture(found: Results) -> float | None:
    """Seconds of a whole picture."""
    return found.get("picture", {}).get("seconds")


def best_peer(systems: Results, figure: Callable[[Results], float | None]) -> float | None:
    """The smallest figure of all but ours."""
    known = [value for name, found in systems.items() if not SYSTEMS[name].ours and (value := figure(found))]
    return min(known, default=None)


def ratio(value: float | None, best: float | None) -> str:
    """How many times the best peer's."""
    return f"{value / best:.2f}" if value and best else NONE


def seconds(value: float | None, spread: list[float] | None = None) -> str:
    """A median, with the smallest and the largest."""
    if value is None:
        return NONE
    return f"{value:.2f}" + (f" ({min(spread):.2f}–{max(spread):.2f})" if spread else "")


def limits(results: Results, rate: Callable[[Mapping[str, float], str], float]) -> tuple[float, float]:
    """Seconds of a step and of the decoder, did every product run at the measured peak."""
    flops, peaks = results["machine"]["flops"], results["machine"]["peaks"]
    step, decode = (
        sum(count / rate(peaks, kind) for kind, count in flops[what].items()) for what in ("step", "decode")
    )
    return step, decode


def title(name: str, results: Results) -> str:
    """What a system is called in the table."""
    return SYSTEMS[name].title.format(results["number"])


def own(results: Results) -> Callable[[Mapping[str, float], str], float]:
    """The peaks of the numbers that were calculated in: convolutions and other products have their own."""
    return lambda peaks, kind: peaks[f"{results['number']} {kind}"]


def int8(peaks: Mapping[str, float], kind: str) -> float:
    """Every product as fast as the convolutions."""
    return peaks["int8 conv"]


def rows(results: Results) -> list[list[str]]:
    """One for each system, then the limits."""
    systems = results["systems"]
    best = [best_peer(systems, figure) for figure in (step, decode, picture)]
    found_rows = [
        row(name, title(name, results), found, best)
        for name, found in systems.items()
        if "failed" not in found
    ]
    for limited, rate in ((results["number"], own(results)), ("int8", int8)):
        limit = limits(results, rate)
        cells = [cell for k in (0, 1) for cell in (seconds(limit[k]), ratio(limit[k], best[k]))]
        found_rows.append([f"limit, {limited}", NONE, NONE, *cells, *[NONE] * (len(HEADS) - 3 - len(cells))])
    return found_rows


HEADS: Final = (
    "system",
    "first step, cold s",
    "warm s",
    "step s",
    "× best peer",
    "decode s",
    "× best peer",
    "peak GB",
    f"picture, {LONG} steps s",
    "× best peer",
    "its peak GB",
    "same answer: relative error",
)


def row(name: str, called: str, found: Results, best: list[float | None]) -> list[str]:
    """A system's figures."""
    whole = found.get("picture", {})
    return [
        f"**{called}**" if SYSTEMS[name].ours else called,
        f"{found['first']['cold']:.1f}",
        f"{found['first']['warm']:.1f}",
        seconds(step(found), found["steps"]),
        ratio(step(found), best[0]),
        seconds(decode(found), found["decodes"]),
        ratio(decode(found), best[1]),
        f"{found['peak'][ALL] / GB:.1f}",
        seconds(picture(found)),
        ratio(picture(found), best[2]),
        f"{whole['peak'] / GB:.1f}" if whole else NONE,
        ", ".join(f"{what} {error:.1e}" for what, error in found["error"].items()),
    ]


def markdown(results: Results) -> str:
    """Where, when and what; the table; what the limits were made from; who took no part."""
    versions: dict[str, str] = {}
    for found in results["systems"].values():
        versions |= found.get("versions", {})
    machine = results["machine"]
    about = [
        results["date"],
        f"commit {results['commit']}",
        f"{results['processor']}, {results['threads']} threads",
        *(f"{name} {number}" for name, number in sorted(versions.items()) if name != "fromnoise"),
        f"load average before {results['load']:.1f}",
    ]
    peaks = ", ".join(f"{name} {rate / GB:,.0f}" for name, rate in machine["peaks"].items())
    needs = ", ".join(f"{what} {sum(kinds.values()) / 1e12:.3f}" for what, kinds in machine["flops"].items())
    lines = [
        f"{results['size']} × {results['size']} pixels; " + ", ".join(about) + ".",
        "",
        f"| {' | '.join(HEADS)} |",
        "|---" * len(HEADS) + "|",
        *(f"| {' | '.join(cells)} |" for cells in rows(results)),
        "",
        f"Peaks, GFLOP/s: {peaks}. Needs, TFLOP: {needs}.",
    ]
    for name, found in results["systems"].items():
        if "failed" in found:
            lines += ["", f"{title(name, results)}: no figures. {found['failed']}"]
    return "\n".join(lines)
