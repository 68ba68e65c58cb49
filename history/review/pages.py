"""Charts as HTML pages that need no network: data, and Bokeh's library in the browser, inside.

The library is Bokeh's own file, packed; the browser unpacks it. A page forbids itself all network.
Not in here: what is drawn (:mod:`fitcast.history.review.charts`).
"""

import base64
import functools
import gzip
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fitcast.history.review.charts import Chart
from fitcast.history.review.words import in_html

_SCRIPTS: Final = ("bokeh.min.js", "bokeh-api.min.js")

# Bokeh's JavaScript interface draws what the dictionaries of `charts` say. All texts reach it as
# data; the hover's are escaped by Bokeh.
_DRAW: Final = """
async function unpacked(id) {
  const text = document.getElementById(id).textContent;
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return await new Response(stream).text();
}
function legend(fig) {
  const own = fig.legend;
  own.click_policy = "mute"; own.location = "top_left"; own.orientation = "horizontal";
  own.label_text_font_size = "11px"; own.spacing = 12;
  fig.add_layout(own, "above");
}
function grouped(columns) {
  const groups = new Map();
  columns.algorithm.forEach((name, i) => {
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(i);
  });
  return [...groups].sort().map(([name, rows]) => {
    const data = {};
    for (const [key, values] of Object.entries(columns)) data[key] = rows.map(i => values[i]);
    return [name, data];
  });
}
function figure(chart, more) {
  return Bokeh.Plotting.figure(Object.assign({
    title: chart.title, height: chart.height, sizing_mode: "stretch_width",
    x_axis_label: chart.x, tools: "pan,wheel_zoom,box_zoom,xwheel_zoom,reset,save",
    active_scroll: "xwheel_zoom", background_fill_color: "#fbfbfb"}, more));
}
function bars(chart) {
  const fig = figure(chart, {y_range: chart.lanes});
  const renderers = [];
  for (const [name, data] of grouped(chart.bars)) {
    const source = new Bokeh.ColumnDataSource({data});
    renderers.push(fig.hbar({y: {field: "lane"}, left: {field: "left"}, right: {field: "right"},
      height: 0.72, fill_color: {field: "colour"}, line_color: "white", line_width: 0.5,
      muted_alpha: 0.06, legend_label: name, source}));
  }
  for (const mark of chart.marks) {
    const source = new Bokeh.ColumnDataSource({data: {x: mark.x, y: mark.y}});
    fig.scatter({x: {field: "x"}, y: {field: "y"}, marker: mark.shape, size: 11,
      line_color: mark.colour, fill_color: mark.colour, line_width: 2.5, muted_alpha: 0.06,
      legend_label: mark.name, source});
  }
  fig.add_tools(new Bokeh.HoverTool({renderers, tooltips: [["fit", "@what"],
    ["outcome", "@outcome"], ["runtime", "@took"], ["peak memory", "@memory"],
    ["algorithm", "@algorithm"]]}));
  return fig;
}
function scatter(chart) {
  const fig = figure(chart, {x_axis_type: "log", y_axis_type: "log", y_axis_label: chart.y,
    x_range: chart.edges, y_range: chart.edges, active_scroll: "wheel_zoom"});
  const line = new Bokeh.ColumnDataSource({data: {x: chart.edges, y: chart.edges}});
  fig.line({x: {field: "x"}, y: {field: "y"}, line_dash: "dashed", line_color: "#777777",
    legend_label: "as forecast", source: line});
  const renderers = [];
  for (const [name, data] of grouped(chart.points)) {
    const source = new Bokeh.ColumnDataSource({data});
    fig.segment({x0: {field: "low"}, x1: {field: "high"}, y0: {field: "measured"},
      y1: {field: "measured"}, line_color: {field: "colour"}, line_alpha: 0.35, line_width: 2,
      muted_alpha: 0.03, legend_label: name, source});
    renderers.push(fig.scatter({x: {field: "forecast"}, y: {field: "measured"}, size: 7,
      fill_color: {field: "colour"}, line_color: "white", line_width: 0.5, muted_alpha: 0.06,
      legend_label: name, source}));
  }
  fig.add_tools(new Bokeh.HoverTool({renderers, tooltips: [["fit", "@what"],
    ["forecast", "@forecast (@low to @high)"], ["measured", "@measured"],
    ["algorithm", "@algorithm"]]}));
  return fig;
}
function lines(chart) {
  const fig = figure(chart, {x_range: chart.periods, y_axis_label: chart.y,
    active_scroll: "wheel_zoom"});
  const renderers = [];
  for (const one of chart.lines) {
    const source = new Bokeh.ColumnDataSource({data: one.data});
    fig.line({x: {field: "period"}, y: {field: "value"}, line_color: one.colour, line_width: 2,
      muted_alpha: 0.08, legend_label: one.name, source});
    renderers.push(fig.scatter({x: {field: "period"}, y: {field: "value"}, size: 7,
      fill_color: one.colour, line_color: one.colour, muted_alpha: 0.08,
      legend_label: one.name, source}));
  }
  fig.add_tools(new Bokeh.HoverTool({renderers,
    tooltips: [["period", "@period"], ["value", "@value"], ["fits", "@fits"]]}));
  return fig;
}
(async () => {
  const said = document.getElementById("said");
  try {
    for (const id of ["library-0", "library-1"]) {
      const script = document.createElement("script");
      script.textContent = await unpacked(id);
      document.head.appendChild(script);
    }
    Bokeh.set_log_level("error");
    const charts = JSON.parse(await unpacked("charts"));
    for (const chart of charts) {
      const fig = {bars, scatter, lines}[chart.kind](chart);
      legend(fig);
      await Bokeh.Plotting.show(fig, "#drawn");
    }
    said.remove();
  } catch (error) { said.textContent = "This browser can't draw the charts: " + error; }
})();
"""

_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; \
font-src data:">
<style>body {{ font: 14px/1.45 system-ui, sans-serif; margin: 14px 18px; color: #222; }}
h1 {{ font-size: 17px; margin: 0 0 4px; }} p {{ margin: 2px 0 10px; color: #555; }}
#drawn {{ min-width: 480px; }}</style></head><body>
<h1>{title}</h1>
<p>{about}</p>
<p id="said">Drawing …</p><div id="drawn"></div>
{data}<script>{draw}</script></body></html>
"""


def page(title: str, about: str, charts: Sequence[Chart]) -> bytes:
    """Return an HTML page with charts.

    Parameters
    ----------
    title, about
        Plain text.
    charts
        As :mod:`fitcast.history.review.charts` makes them.
    """
    texts = {f"library-{n}": _library(name) for n, name in enumerate(_SCRIPTS)}
    texts["charts"] = _packed(json.dumps(charts, separators=(",", ":")).encode())
    data = "".join(
        f'<script type="text/plain" id="{name}">{text}</script>\n' for name, text in texts.items()
    )
    written = _PAGE.format(title=in_html(title), about=in_html(about, 400), data=data, draw=_DRAW)
    return written.encode("utf-8", "backslashreplace")


@functools.cache
def _library(name: str) -> str:
    # Found, not imported: Bokeh in Python takes most of a second that nobody needs here
    found = importlib.util.find_spec("bokeh")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("Bokeh isn't installed")
    folder = Path(next(iter(found.submodule_search_locations)))
    return _packed((folder / "server" / "static" / "js" / name).read_bytes())


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")
