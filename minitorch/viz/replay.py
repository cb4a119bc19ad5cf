"""The backward pass as one HTML file to step through, offline: the graph, and what happens at every edge of it."""

from __future__ import annotations

import html
import json
import os
from typing import Any

from .graph import Graph, short, step_text
from .tape import Arrival, Tape

PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.5em auto; max-width: 75em; padding: 0 1em; color: #222 }}
#picture {{ overflow-x: auto; border: 1px solid #ddd; border-radius: 6px; padding: 1em; text-align: center }}
#picture .g {{ visibility: hidden }}
button {{ font: inherit; padding: .3em 1em }}
table {{ border-collapse: collapse; margin-top: 1em }} td, th {{ text-align: left; padding: .25em .9em; vertical-align: top }}
th {{ color: #666; font-weight: normal }} td, pre {{ font-family: monospace; white-space: pre; margin: 0 }}
#formula {{ background: #f7f7f7; border-radius: 6px; padding: .8em; margin-top: 1em; font-family: monospace; white-space: pre-wrap }}
</style>
<h1 style="font-size:1.3em">{title}</h1>
<p><button id="first">&#8676;</button> <button id="back">&#8592; back</button> <button id="next">next &#8594;</button>
<button id="last">&#8677;</button> <span id="where"></span> &nbsp; (arrow keys work too)</p>
<div id="picture">{svg}</div>
<h2 id="what" style="font-size:1.1em"></h2>
<table id="numbers"></table>
<div id="formula"></div>
<script>
const steps = {steps};
let now = 0;
const picture = document.getElementById("picture");
const node = n => picture.querySelector(`[data-node="${{n}}"]`);
function row(name, lines) {{
  const tr = document.createElement("tr"), th = document.createElement("th"), td = document.createElement("td");
  th.textContent = name; td.textContent = lines.join("\\n"); tr.append(th, td);
  return tr;
}}
function show() {{
  const step = steps[now];
  picture.querySelectorAll(".on").forEach(e => e.classList.remove("on"));
  picture.querySelectorAll("g.node").forEach(e => {{
    const total = step.totals[e.dataset.node];
    const texts = [...e.querySelectorAll(".g")];
    texts.forEach((t, i) => {{
      t.style.visibility = total ? "visible" : "hidden";
      if (total) t.textContent = (i ? "       " : "    dy ") + (total[i] || "");
    }});
  }});
  const target = node(step.target);
  if (target) target.classList.add("on");
  if (step.source !== null) {{
    node(step.source)?.classList.add("on");
    picture.querySelectorAll(`[data-from="${{step.target}}"][data-to="${{step.source}}"]`)
      .forEach(e => e.classList.add("on"));
  }}
  document.getElementById("where").textContent = `step ${{now + 1}} of ${{steps.length}}`;
  document.getElementById("what").textContent = step.what;
  document.getElementById("numbers").replaceChildren(...step.rows.map(([name, lines]) => row(name, lines)));
  const formula = document.getElementById("formula");
  formula.textContent = step.formula;
  formula.style.display = step.formula ? "block" : "none";
}}
function go(n) {{ now = Math.max(0, Math.min(steps.length - 1, n)); show(); }}
document.getElementById("first").onclick = () => go(0);
document.getElementById("back").onclick = () => go(now - 1);
document.getElementById("next").onclick = () => go(now + 1);
document.getElementById("last").onclick = () => go(steps.length - 1);
document.onkeydown = e => {{ if (e.key === "ArrowRight") go(now + 1); if (e.key === "ArrowLeft") go(now - 1); }};
show();
</script>
</html>
"""


class Replay:
    """The page: `save("backward.html")`; a notebook shows it inside a frame."""

    def __init__(self, tape: Tape, title: str):
        if not tape.arrivals:
            raise RuntimeError("replay: call tape.backward(loss) first, there is nothing to step through yet")
        self.tape, self.title = tape, title
        self.graph = Graph(tape)

    @property
    def html(self) -> str:
        totals: dict[int, list[str]] = {}
        steps = []
        for arrival in self.tape.arrivals:
            target = self.graph.number(arrival.target)
            if target < 0:
                continue
            totals = {**totals, target: short(arrival.total)}
            steps.append({**self._step(arrival), "target": target, "totals": totals})
        return PAGE.format(
            title=html.escape(self.title),
            svg=self.graph.svg,
            steps=json.dumps(steps).replace("<", "\\u003c"),  # no text of a step may end the script
        )

    def _step(self, arrival: Arrival) -> dict[str, Any]:
        name = arrival.target.name or (arrival.target.step.name if arrival.target.step else "a leaf")
        if arrival.step is None:
            rows = [["its gradient, given", short(arrival.amount)]]
            return {"what": f"Start at {name}: its derivative with respect to itself", "rows": rows, "formula": "",
                    "source": None}  # fmt: skip
        first = arrival.total is arrival.amount
        rows = [
            ["forward value y", short(arrival.step.outputs[0].tensor.array)],
            ["the input's value", short(arrival.target.tensor.array)],
            ["incoming gradient dy", short(arrival.incoming)],
        ]
        if arrival.local is not None:
            rows.append(["local derivative (what dy = 1 gives)", short(arrival.local)])
        rows.append([f"this step's part of the gradient of {name}", short(arrival.amount)])
        rows.append([f"gradient of {name} so far", short(arrival.total)])
        if not first:
            rows.append(["accumulated:", ["another path had brought a part already; the parts are added"]])
        return {
            "what": f"Back through {step_text(arrival.step)}, to {name}",
            "rows": rows,
            "formula": arrival.step.equation,
            "source": self.graph.number(arrival.step.outputs[0]),
        }

    def save(self, path: str | os.PathLike) -> None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.html)

    def _repr_html_(self) -> str:
        page = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="620" style="border:0"></iframe>'

    def __repr__(self) -> str:
        return f"<Replay of {len(self.tape.arrivals)} steps; a notebook shows it, save('backward.html') writes it>"
