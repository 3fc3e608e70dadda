"""Inline SVG: operations a second by outcome, and latencies, with the intervals of faults shaded."""

import html
import math

WIDTH, LEFT, RIGHT = 1080, 46, 12
COLORS = {"ok": "#5fae84", "info": "#e0a43a", "fail": "#d2675f", "p50": "#2b5fb3", "p99": "#8a5fc7", "max": "#b9a6dd"}
FAULT, HEALING = "#f6dcd9", "#dde8f7"

LEGEND = '<div class="legend">' + "".join(
    f'<span><i style="background:{color}"></i>{label}</span>' for color, label in (
        (COLORS["ok"], "answered"), (COLORS["info"], "unknown"), (COLORS["fail"], "refused"), (COLORS["p50"], "median"),
        (COLORS["p99"], "99th percentile"), (COLORS["max"], "slowest"), (FAULT, "fault"), (HEALING, "until all nodes are the same"))) + "</div>"


def span(result):
    """The seconds that a chart shows."""
    return max([len(result["timeline"]), 1] + [math.ceil(event["end"]) for event in result["events"]])


def shading(result, height, scale, names):
    """The intervals of events, with their names once there is room."""
    shapes, free = [], 0.0
    for event in result["events"]:
        start, width = LEFT + event["start"] * scale, max(1.5, (event["end"] - event["start"]) * scale)
        color = HEALING if event["label"] == "convergence" else FAULT
        title = html.escape(f"{event['label']} {event['start']:.1f}–{event['end']:.1f} s {event['detail']}")
        shapes.append(f'<rect x="{start:.1f}" y="14" width="{width:.1f}" height="{height - 34}" fill="{color}"><title>{title}</title></rect>')
        if names and start >= free and event["label"] != "convergence":
            label = html.escape(event["label"])
            shapes.append(f'<text x="{start + 3:.1f}" y="10" class="t">{label}</text>')
            free = start + 7 * len(event["label"]) + 10
    return "".join(shapes)


def frame(height, ticks, seconds, scale):
    """Grid lines with their values (y position, text) and the seconds below."""
    parts = [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e6ee"/>'
             f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="t">{label}</text>' for y, label in ticks]
    step = next(step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 3600) if seconds / step <= 14 or step == 3600)
    for second in range(0, seconds + 1, step):
        parts.append(f'<text x="{LEFT + second * scale:.1f}" y="{height - 5}" text-anchor="middle" class="t">{second} s</text>')
    return "".join(parts)


def svg(height, title, content):
    return (f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}"><style>.t {{ font: 11px system-ui, sans-serif; fill: #5d6679; }}'
            f"</style>{content}</svg>")


def round_up(value):
    """The next of 1, 2, 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(max(value, 1)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= value)


def throughput(result):
    """Stacked bars for each second."""
    height, rows, seconds = 190, result["timeline"], span(result)
    scale = (WIDTH - LEFT - RIGHT) / seconds
    top = round_up(max((row["ok"] + row["info"] + row["fail"] for row in rows), default=1))
    inner, bottom = height - 34, height - 20
    bars = []
    for second, row in enumerate(rows):
        y = bottom
        for kind in ("ok", "info", "fail"):
            size = row[kind] / top * inner
            if size:
                y -= size
                bars.append(f'<rect x="{LEFT + second * scale + scale * 0.08:.1f}" y="{y:.1f}" width="{scale * 0.84:.1f}" height="{size:.1f}" '
                            f'fill="{COLORS[kind]}"><title>second {second}: {row[kind]} {kind}</title></rect>')
    ticks = [(bottom - inner * part, f"{top * part:g}") for part in (0, 0.5, 1)]
    content = shading(result, height, scale, True) + frame(height, ticks, seconds, scale) + "".join(bars)
    content += f'<text x="{WIDTH - RIGHT}" y="10" text-anchor="end" class="t">operations a second</text>'
    return svg(height, "operations a second by outcome", content)


def latency(result):
    """Median, 99th percentile and maximum for each second, on a logarithmic scale from 0.1 ms to 10 s."""
    height, rows, seconds = 150, result["timeline"], span(result)
    scale = (WIDTH - LEFT - RIGHT) / seconds
    inner, bottom = height - 34, height - 20

    def at(milliseconds):
        return bottom - inner * (math.log10(min(max(milliseconds, 0.1), 10000)) + 1) / 5

    ticks = [(at(value), label) for value, label in ((0.1, "0.1 ms"), (1, "1 ms"), (10, "10 ms"), (100, "0.1 s"), (1000, "1 s"), (10000, "10 s"))]
    lines = []
    for name in ("max", "p99", "p50"):
        pieces, piece = [], []
        for second, row in enumerate(rows):
            if row[name] is None:
                pieces, piece = [*pieces, piece], []
            else:
                piece.append(f"{LEFT + (second + 0.5) * scale:.1f},{at(row[name]):.1f}")
        for points in [*pieces, piece]:
            if len(points) == 1:
                x, y = points[0].split(",")
                lines.append(f'<circle cx="{x}" cy="{y}" r="2" fill="{COLORS[name]}"/>')
            elif points:
                lines.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{COLORS[name]}" stroke-width="1.6"/>')
    content = shading(result, height, scale, False) + frame(height, ticks, seconds, scale) + "".join(lines)
    content += f'<text x="{WIDTH - RIGHT}" y="10" text-anchor="end" class="t">latency of answered operations</text>'
    return svg(height, "latency", content)
