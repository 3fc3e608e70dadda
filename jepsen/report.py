"""The report: one HTML file without outside resources. The matrix, and for each cell what happened and what was found."""

import html
import json
from collections import Counter

import charts
from nemesis import NEMESES
from workloads import WORKLOADS

STATUS = {"held": "held", "broken": "broken", "no fault": "no fault", "error": "error", "nothing examined": "empty"}
# With more cells than this, those that held are folded.
OPEN_CELLS = 40

STYLE = """
:root { --ink: #1d2433; --soft: #5d6679; --line: #e2e6ee; --paper: #fff; --ground: #f5f6f9; --ok: #2f8f5b; --okbg: #e3f4ea;
  --bad: #c2372e; --badbg: #fbe6e4; --odd: #9a6a00; --oddbg: #fcf1d8; --accent: #2b5fb3; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 32px 24px 80px; }
h1 { font-size: 28px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 40px 0 12px; }
p.lead { color: var(--soft); margin: 0 0 20px; max-width: 70ch; }
.tiles { display: flex; gap: 12px; flex-wrap: wrap; margin: 20px 0; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; flex: 1 1 100px; }
.tile b { display: block; font-size: 22px; white-space: nowrap; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
table.matrix { border-collapse: collapse; font-size: 13px; width: 100%; }
table.matrix th { font-weight: 600; text-align: left; padding: 8px 6px 8px 10px; white-space: nowrap; }
table.matrix thead th { color: var(--soft); border-bottom: 1px solid var(--line); }
table.matrix thead th + th { text-align: center; }
table.matrix td { padding: 4px; border-top: 1px solid var(--line); text-align: center; }
table.matrix tbody th { border-top: 1px solid var(--line); }
.badge { display: inline-block; border-radius: 6px; padding: 3px 9px; font-size: 12px; font-weight: 600; text-decoration: none; white-space: nowrap; }
.held { background: var(--okbg); color: var(--ok); } .broken { background: var(--badbg); color: var(--bad); }
.caught { background: #e4ecf9; color: var(--accent); }
.no-fault, .error, .empty { background: var(--oddbg); color: var(--odd); }
.none { color: #b8bfcc; }
section.cell { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 20px 24px; margin: 18px 0; }
section.cell header { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; }
section.cell h3 { margin: 0; font-size: 18px; }
section.cell .about { color: var(--soft); margin: 4px 0 12px; font-size: 14px; }
.facts { color: var(--soft); font-size: 13px; display: flex; gap: 20px; flex-wrap: wrap; margin: 10px 0 4px; }
.facts b { color: var(--ink); font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; }
ul.checks { list-style: none; margin: 14px 0 0; padding: 0; border-top: 1px solid var(--line); font-size: 14px; }
ul.checks > li { padding: 7px 0; border-bottom: 1px solid var(--line); }
ul.checks .row { display: flex; gap: 10px; align-items: baseline; flex-wrap: wrap; }
.mark { font-weight: 700; width: 1.1em; } .mark.y { color: var(--ok); } .mark.n { color: var(--bad); }
.promise { color: var(--accent); font-size: 12px; } .examined { margin-left: auto; color: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.note { color: var(--soft); font-size: 13px; margin: 2px 0 0 1.9em; overflow-wrap: anywhere; }
.found { margin: 6px 0 6px 1.6em; border-left: 3px solid var(--bad); padding: 2px 0 2px 12px; font-size: 13px; overflow-wrap: anywhere; }
.found code { display: block; font: 12px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; color: var(--soft); }
details > summary { cursor: pointer; color: var(--soft); font-size: 13px; margin-top: 10px; }
details.fold { margin: 6px 0; } details.fold > summary { font-size: 14px; color: var(--ink); }
.legend { font-size: 12px; color: var(--soft); display: flex; gap: 16px; flex-wrap: wrap; margin: 6px 0 0; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 5px; }
"""


def escape(text):
    return html.escape(str(text))


def badge(result, link=True):
    """The status as a coloured word; a planted fault that broke a check was caught."""
    name = STATUS[result["status"]]
    if result["plant"]:
        name = "caught" if name == "broken" else f"not caught: {name}"
    kind = "error" if name.startswith("not caught") else name.replace(" ", "-")
    count = sum(verdict["broken_count"] for verdict in result["verdicts"])
    title = f' title="{count:,} findings"' if count else ""
    if link:
        return f'<a class="badge {kind}"{title} href="#{anchor(result)}">{name}</a>'
    return f'<span class="badge {kind}"{title}>{name}</span>'


def row_of(result):
    """The row of the matrix: the nemesis, and what was planted."""
    return result["nemesis"] + (f", planted: {result['plant']}" if result["plant"] else "")


def anchor(result):
    return f"{result['workload']}--{result['nemesis']}" + (f"--plant-{result['plant']}" if result["plant"] else "")


def in_order(results):
    """As the tables of workloads and nemeses have them, planted ones last."""
    nemeses, workloads = list(NEMESES), list(WORKLOADS)
    return sorted(results, key=lambda result: (bool(result["plant"]), result["plant"] or "", nemeses.index(result["nemesis"]),
                                               workloads.index(result["workload"])))


def matrix(results):
    nemeses = list(dict.fromkeys(row_of(result) for result in in_order(results)))
    present = {result["workload"] for result in results}
    workloads = [name for name in WORKLOADS if name in present]
    by_cell = {(result["workload"], row_of(result)): result for result in results}
    head = "".join(f"<th>{escape(name)}</th>" for name in workloads)
    rows = ""
    for nemesis in nemeses:
        cells = "".join(f"<td>{badge(by_cell[workload, nemesis]) if (workload, nemesis) in by_cell else '<span class=none>·</span>'}</td>"
                        for workload in workloads)
        rows += f"<tr><th>{escape(nemesis)}</th>{cells}</tr>"
    return f'<div class="scroll"><table class="matrix"><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def tiles(results):
    counts = Counter()
    for result in results:
        counts.update(result["counts"])
    planted = sum(bool(result["plant"]) for result in results)
    states = Counter(result["status"] for result in results if not result["plant"])
    healing = max((seconds for result in results for seconds in result.get("heals") or []), default=0)
    slowest = max((result["convergence"].get("seconds", 0) for result in results), default=0)
    shown = [(len(results), "cells"), (states["held"], "held"), (states["broken"], "broke a promise"),
             (len(results) - planted - states["held"] - states["broken"], "without a verdict"),
             (f"{counts['ok']:,}", "answered operations"), (f"{counts['info']:,}", "with unknown outcome"),
             (f"{healing:g} s", "slowest healing after a fault"), (f"{slowest:g} s", "slowest convergence in the end")]
    if planted:
        caught = sum(bool(result["plant"]) and result["status"] == "broken" for result in results)
        shown.insert(4, (f"{caught} of {planted}", "planted faults caught"))
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{value}</b><span>{label}</span></div>' for value, label in shown) + "</div>"


def check_item(verdict):
    held = not verdict["broken_count"] and verdict["examined"]
    text = f'<li><div class="row"><span class="mark {"y" if held else "n"}">{"✓" if held else "✗"}</span>'
    text += f'<span>{escape(verdict["check"])}</span><span class="promise">{escape(verdict["promise"])}</span>'
    text += f'<span class="examined">{verdict["examined"]:,} examined</span></div>'
    for note in verdict["notes"]:
        text += f'<div class="note">{escape(note)}</div>'
    for broken in verdict["broken"]:
        text += f'<div class="found">{escape(broken["text"])}' + "".join(f"<code>{escape(op)}</code>" for op in broken["ops"]) + "</div>"
    more = verdict["broken_count"] - len(verdict["broken"])
    if more > 0:
        text += f'<div class="note">and {more:,} more</div>'
    return text + "</li>"


def evidence_list(result):
    if not result["evidence"]:
        return ""
    failed = [item for item in result["evidence"] if not item["holds"]]
    items = "".join(f'<div class="note"><span class="mark {"y" if item["holds"] else "n"}">{"✓" if item["holds"] else "✗"}</span> '
                    f'{escape(item["what"])} <span>({escape(item["detail"])})</span></div>' for item in result["evidence"])
    return (f'<details{" open" if failed else ""}><summary>Proof that the fault took hold: {len(result["evidence"]) - len(failed)} of '
            f'{len(result["evidence"])}</summary>{items}</details>')


def events_list(result):
    if not result["events"]:
        return ""
    items = "".join(f'<div class="note">{event["start"]:.1f}–{event["end"]:.1f} s · {escape(event["label"])} · {escape(event["detail"])}</div>'
                    for event in result["events"])
    return f"<details><summary>Events: {len(result['events'])}</summary>{items}</details>"


def cell(result):
    counts, same = result["counts"], result["convergence"]
    heals = result.get("heals") or []
    facts = [(f"{counts.get('ok', 0):,}", "answered"), (f"{counts.get('fail', 0):,}", "refused"), (f"{counts.get('info', 0):,}", "unknown"),
             (f"{result['may_be_lost']:,}", "may be lost by kill -9"), (f"{same.get('seconds', '–')} s", "from the end until all nodes were the same"),
             (f"{max(heals)} s" if heals else "–", "at most from a fault's end until each saw all"),
             (result["seed"], "seed"), (f"{result['took']} s", "in all")]
    text = f'<section class="cell" id="{anchor(result)}"><header><h3>{escape(result["workload"])} · {escape(result["nemesis"])}</h3>{badge(result, False)}</header>'
    planted = f" · planted behind the checkers' backs: {result['plant']}" if result["plant"] else ""
    text += f'<div class="about">{escape(" · ".join(result["about"]))}{escape(planted)}</div>'
    if result["error"]:
        text += f'<div class="found">{escape(result["error"])}</div>'
    text += charts.throughput(result) + charts.latency(result) + charts.LEGEND
    text += '<div class="facts">' + "".join(f"<span><b>{escape(value)}</b> {label}</span>" for value, label in facts) + "</div>"
    text += '<ul class="checks">' + "".join(check_item(verdict) for verdict in result["verdicts"]) + "</ul>"
    return text + evidence_list(result) + events_list(result) + "</section>"


def fold(result, folded):
    """A cell; of a large matrix those that held are closed until somebody follows a link to them."""
    if not folded or result["status"] != "held":
        return cell(result)
    return (f'<details class="fold"><summary>{escape(result["workload"])} · {escape(row_of(result))} {badge(result, False)}</summary>'
            f"{cell(result)}</details>")


def page(results):
    order = sorted(in_order(results), key=lambda result: result["status"] == "held")
    folded = len(results) > OPEN_CELLS
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>swytch under faults</title><style>{STYLE}</style></head><body><main><h1>swytch under faults</h1>"
            f'<p class="lead">Clients write to every node of a real cluster while something goes wrong. Afterwards everything is '
            f"healed, all nodes have to come to the same data, and the history is checked against what is promised.</p>"
            f"{tiles(results)}<h2>Matrix</h2>{matrix(results)}<h2>Cells</h2>{''.join(fold(result, folded) for result in order)}</main></body></html>")


def write(out, results):
    """`index.html` and `results.json` in the folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.html").write_text(page(results))
    (out / "results.json").write_text(json.dumps(results, indent=1, default=str))


def collect(folders):
    """The results of former runs, from everywhere below the folders; of the same cell the newest."""
    found = {}
    for path in sorted((path for folder in folders for path in folder.rglob("result.json")), key=lambda path: path.stat().st_mtime):
        result = json.loads(path.read_text())
        found[anchor(result)] = result
    return in_order(found.values())
