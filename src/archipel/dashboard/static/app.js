// The pages' one script: draws charts from the data beside them, and puts in what is new when the ledger grew.
// Law: text of strangers is only ever moved as parsed nodes of our own escaped HTML, never built into markup here;
// whatever came over the wire in the meantime, the page is fetched whole again, so it is right after any silence.
"use strict";
(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const plots = new Map();
  const short = (v) => {
    if (v === null || v === undefined) return "-";
    const a = Math.abs(v);
    for (const [size, sign] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) if (a >= size) return `${+(v / (sign === "k" ? 1e3 : size)).toPrecision(3)} ${sign}`;
    return a !== 0 && a < 1e-3 ? v.toExponential(1) : String(+v.toPrecision(4));
  };

  function columns(told) {
    const data = [told.xs.map((x) => (told.x === "time" ? x / 1000 : x))];
    for (const line of told.lines) {
      data.push(line.values);
      if (line.low.length) data.push(line.high, line.low);
    }
    return data;
  }

  const utc = (s) => new Date(s * 1000).toISOString();
  const times = (_, splits, __, ___, step) => splits.map((s, n) => {
    const at = utc(s), day = at.slice(5, 10), isNew = n === 0 || utc(splits[n - 1]).slice(0, 10) !== at.slice(0, 10);
    return step >= 86400 ? at.slice(0, 10) : isNew ? `${at.slice(11, step < 60 ? 19 : 16)}\n${day}` : at.slice(11, step < 60 ? 19 : 16);
  });

  function options(told, place) {
    const series = [{ label: told.x, value: told.x === "time" ? (_, v) => (v === null ? "-" : `${utc(v).slice(0, 16).replace("T", " ")} UTC`) : (_, v) => (v === null ? "-" : String(v)) }];
    const bands = [];
    told.lines.forEach((line, n) => {
      const colour = style(`--c${n % 4}`);
      const drawn = { label: line.name, stroke: colour, width: 1.75, dash: n ? [[7, 4], [2, 3], [10, 3, 2, 3]][(n - 1) % 3] : undefined,
        value: (_, v) => short(v), points: { show: told.xs.length < 40, size: 5, fill: colour }, spanGaps: true };
      if (told.kind === "steps") drawn.paths = uPlot.paths.stepped({ align: 1 });
      if (told.kind === "bars") Object.assign(drawn, { paths: uPlot.paths.bars({ size: [0.7, 24] }), fill: colour, points: { show: false } });
      series.push(drawn);
      if (line.low.length) {
        const edge = { class: "edge", stroke: "transparent", width: 0, points: { show: false }, value: (_, v) => short(v), spanGaps: true };
        series.push({ ...edge, label: "high" }, { ...edge, label: "low" });
        bands.push({ series: [series.length - 2, series.length - 1], fill: style("--band") });
      }
    });
    const axis = { stroke: style("--quiet"), font: "11px system-ui, sans-serif", grid: { stroke: style("--soft"), width: 1 }, ticks: { stroke: style("--line"), size: 4 } };
    return { width: place.clientWidth, height: innerWidth < 720 ? 160 : 190, series, bands,
      scales: { x: { time: told.x === "time" }, y: told.is_log ? { distr: 3 } : told.kind === "bars" ? { range: (_, low, high) => [Math.min(low, 0), Math.max(high, 0) || 1] } : {} },
      axes: [told.x === "time" ? { ...axis, size: 42, space: 68, values: times } : { ...axis, size: 28 }, { ...axis, size: 54, values: (_, vs) => vs.map((v) => (v === null ? "" : short(v))) }],
      cursor: { y: false, drag: { x: true, y: false } }, legend: { live: true },
      hooks: { ready: [newest], setData: [newest], setCursor: [(plot) => { if (plot.cursor.idx === null || plot.cursor.idx === undefined) newest(plot); }] } };
  }

  // Nobody points at the plot: its legend tells what is newest.
  function newest(plot) {
    plot.setLegend({ idx: plot.data[0].length - 1 }, false);
  }

  function draw(figure) {
    const place = figure.querySelector(".plot");
    const told = JSON.parse(figure.querySelector("script.series").textContent);
    plots.get(place.id)?.plot.destroy();
    place.replaceChildren();
    plots.set(place.id, { plot: new uPlot(options(told, place), columns(told), place), lines: told.lines.length, figure });
  }

  function drawAll() {
    if (typeof uPlot === "undefined") return document.documentElement.classList.add("no-plots");
    document.querySelectorAll("figure.chart").forEach(draw);
  }

  // --- what is new ------------------------------------------------------------------------------
  let busy = false, again = false;
  const say = (text) => { const live = document.getElementById("live"); if (live && live.textContent !== text) live.textContent = text; };
  const mood = (name) => { const all = document.documentElement.classList; all.toggle("is-live", name === "live"); all.toggle("is-away", name === "away"); };

  function swapChart(old, fresh) {
    const [before, after] = [old, fresh].map((each) => each.querySelector("script.series"));
    if (before.textContent === after.textContent) return;
    const open = old.querySelector("details").open;
    const lines = JSON.parse(after.textContent).lines.length, known = plots.get(old.querySelector(".plot").id);
    before.replaceWith(document.importNode(after, true));
    const table = document.importNode(fresh.querySelector("details"), true);
    table.open = open;
    if (!old.querySelector("details").contains(document.activeElement)) old.querySelector("details").replaceWith(table);
    if (known && known.lines === lines) known.plot.setData(columns(JSON.parse(after.textContent)));
    else if (typeof uPlot !== "undefined") draw(old);
  }

  function swap(fresh) {
    const main = document.getElementById("main"), known = [...main.children].map((each) => each.id);
    const there = [...fresh.body.children];
    if (there.map((each) => each.id).join() !== known.join()) {
      if (main.contains(document.activeElement) && document.activeElement !== main) return;
      main.replaceChildren(...there.map((each) => document.importNode(each, true)));
      plots.clear();
      return drawAll();
    }
    for (const each of there) {
      const old = document.getElementById(each.id);
      if (!old.hasAttribute("data-live")) {
        const figures = [...each.querySelectorAll("figure.chart")], olds = [...old.querySelectorAll("figure.chart")];
        if (figures.length === olds.length) figures.forEach((figure, n) => swapChart(olds[n], figure));
        else { old.replaceWith(document.importNode(each, true)); drawAll(); }
      } else if (old.innerHTML !== each.innerHTML && !old.contains(document.activeElement)) {
        const scrolled = [...old.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
        old.replaceChildren(...[...each.childNodes].map((node) => document.importNode(node, true)));
        old.querySelectorAll(".scroll").forEach((box, n) => { box.scrollLeft = scrolled[n] || 0; });
      }
    }
  }

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const url = new URL(location.href);
      url.searchParams.set("part", "1");
      const answer = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin" });
      if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { mood("away"); } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  }

  function listen() {
    const head = document.getElementById("page-head");
    if (!head) return;
    const events = new EventSource(`/pages/events?size=${head.dataset.size}`);
    let waiting = false, lost = false, last = 0;
    events.onopen = () => { mood("live"); if (lost) { lost = false; say("Connected again."); refresh(); } };
    events.onerror = () => { mood("away"); if (!lost) say("Connection lost; trying again."); lost = true; };
    events.onmessage = (event) => {
      const { size } = JSON.parse(event.data);
      if (document.hidden) { waiting = true; return; }
      refresh();
      if (Date.now() - last > 20000) { last = Date.now(); say(`The page follows the ledger: ${size} entries.`); }
    };
    document.addEventListener("visibilitychange", () => { if (!document.hidden && waiting) { waiting = false; refresh(); } });
  }

  let timer = 0, width = innerWidth;
  addEventListener("resize", () => { if (innerWidth === width) return; width = innerWidth; clearTimeout(timer); timer = setTimeout(drawAll, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawAll();
  listen();
})();
