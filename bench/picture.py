"""Picture: the fan-out beside its peers, drawn from `bench/results/fanout.json` as PNG and SVG."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
# How many readers the bars are of.
READERS = 5_000
# What costs more than so many bare loops is only named.
HIGHEST = 3.2
OURS, OTHERS, FLOOR = "#b3261e", "#8a9097", "#3d4348"


def draw() -> list[Path]:
    """Draw the last results; returns the files."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    # The same picture from the same figures, byte by byte.
    mpl.rcParams.update({"svg.hashsalt": "bench", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    found = json.loads((RESULTS / "fanout.json").read_text())
    own, floor = found["own"], found["floor"]
    picture, panels = plt.subplots(2, 2, figsize=(12, 7), layout="constrained")

    lossy = {name for name in found["servers"] if any(loss.startswith(f"{name}, ") for loss in found["losses"])}

    def label(server: str) -> str:
        return short(server) + ("*" if server in lossy else "")

    def colour(server: str) -> str:
        return OURS if server == own else FLOOR if server == floor else OTHERS

    def bars(
        panel: Any, key: str, title: str, scale: float = 1.0, *, ascending: bool = True, text: str = "{:.1f}"
    ) -> None:
        rows = [
            (server, of[str(READERS)][key])
            for server, of in found["servers"].items()
            if key in of.get(str(READERS), {})
        ]
        rows.sort(key=lambda row: row[1]["median"], reverse=ascending)
        most = max(row["max"] for _, row in rows) * scale
        for at, (server, row) in enumerate(rows):
            value = row["median"] * scale
            error = [[value - row["min"] * scale], [row["max"] * scale - value]]
            panel.barh(at, value, xerr=error, color=colour(server), error_kw={"elinewidth": 0.8, "capsize": 2})
            panel.text(row["max"] * scale + most * 0.01, at, " " + text.format(value), va="center", fontsize=8)
        panel.set_yticks(range(len(rows)), [label(server) for server, _ in rows])
        panel.set_xlim(0, most * 1.15)
        panel.set_title(title, loc="left", fontsize=10)

    bars(panels[0][0], "single_cpu_us", f"CPU a delivery, µs ({READERS:,} readers; less is better)")
    bars(panels[0][1], "bytes_per_reader", "Memory an idle reader, KB (less is better)", 1 / 1000)
    bars(
        panels[1][0],
        "handshakes",
        "Handshakes a CPU-second, snapshot included (more is better)",
        ascending=False,
        text="{:,.0f}",
    )
    lines = panels[1][1]
    ends, above = [], []
    for server, of in found["servers"].items():
        if server == floor:
            continue
        counts = [count for count in found["readers"] if str(count) in of]
        medians = [of[str(count)]["single_ratio"]["median"] for count in counts]
        if max(medians) > HIGHEST:
            above.append(label(server))
            continue
        lines.plot(counts, medians, marker="o", markersize=3, color=colour(server), linewidth=2 if server == own else 1)
        ends.append((medians[-1], counts[-1], label(server)))
    at = 0.0
    for median, count, name in sorted(ends):
        # Each below the next, though the lines may meet.
        at = max(median, at + HIGHEST / 22)
        lines.annotate(name, (count, at), xytext=(6, -3), textcoords="offset points", fontsize=7)
    lines.axhline(1, color=FLOOR, linewidth=0.8, linestyle="--")
    lines.set_xlim(0, max(found["readers"]) * 1.35)
    lines.set_ylim(0, HIGHEST)
    lines.set_title("CPU a delivery over the bare loop's, by readers", loc="left", fontsize=10)
    if above:
        lines.text(0.02, 0.02, "Higher:\n" + "\n".join(above), transform=lines.transAxes, fontsize=7)
    if lossy:
        picture.supxlabel("* lost lines in some rounds, which are left out", fontsize=7, x=0.01, ha="left")
    files = [RESULTS / "fanout.svg", RESULTS / "fanout.png"]
    for file in files:
        picture.savefig(file, dpi=130, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(picture)
    return files


def short(server: str) -> str:
    """A server's name without its versions."""
    name = server.split(" (", maxsplit=1)[0]
    words = [word for word in name.split() if not word[0].isdigit()]
    return " ".join(words)
