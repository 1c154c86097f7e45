// The course of one point: recent past, then live. Values hold until the next report; marked ones are drawn as marks.
(() => {
  "use strict";
  const place = document.getElementById("chart");
  const pick = document.getElementById("chart-point");
  const stretch = document.getElementById("chart-window");
  const summary = document.getElementById("chart-summary");
  const { now, put } = window.gridspine;
  const MOST = 20000;
  const KEPT_S = 15 * 60;
  const series = new Map(); // name → {t, v, q}
  let plot = null;
  let dirty = true;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const option = () => pick.selectedOptions[0];
  const codes = () => JSON.parse(option().dataset.codes || "{}");
  const scaled = new Set(["W", "Wh", "var", "VA", "varh", "VAh"]);

  const put1 = (own, t, v, q) => {
    let at = own.t.length;
    while (at > 0 && own.t[at - 1] > t) at -= 1;
    if (at > 0 && own.t[at - 1] === t) { own.v[at - 1] = v; own.q[at - 1] = q; return; }
    own.t.splice(at, 0, t);
    own.v.splice(at, 0, v);
    own.q.splice(at, 0, q);
  };
  const take = (event) => {
    for (const [name, [t, v, q]] of Object.entries(event)) {
      const own = series.get(name) ?? { t: [], v: [], q: [] };
      series.set(name, own);
      t.forEach((time, at) => put1(own, time, v[at], q[at]));
      const old = own.t.findIndex((time) => time > now() - KEPT_S - 60);
      const cut = Math.max(old > 0 ? old - 1 : 0, own.t.length - MOST);
      if (cut > 0) for (const column of [own.t, own.v, own.q]) column.splice(0, cut);
    }
    dirty = true;
  };

  const text = (value) => {
    if (value === null || value === undefined) return "–";
    const names = codes();
    if (names[String(Math.round(value))]) return names[String(Math.round(value))];
    const unit = option().dataset.unit;
    const size = Math.abs(value);
    const [scale, prefix] = !scaled.has(unit) ? [1, ""] : size >= 1e6 ? [1e6, "M"] : size >= 1e3 ? [1e3, "k"] : [1, ""];
    const shown = (value / scale).toLocaleString("en", { maximumSignificantDigits: 4 }).replaceAll(",", "\u202f").replace("-", "−");
    return `${shown}${unit === "code" || unit === "1" ? "" : `\u00a0${prefix}${unit}`}`;
  };

  const data = () => {
    const own = series.get(pick.value) ?? { t: [], v: [], q: [] };
    const t = own.t.slice();
    const v = own.v.slice();
    const last = own.q.length ? own.q[own.q.length - 1] : "never";
    if (t.length && last !== "old" && now() > t[t.length - 1]) { t.push(now()); v.push(v[v.length - 1]); }
    return [t, v];
  };

  const shapes = {
    questionable(c, x, y, r) { c.moveTo(x, y - r); c.lineTo(x + r, y + r); c.lineTo(x - r, y + r); c.closePath(); c.fill(); },
    invalid(c, x, y, r) { c.moveTo(x - r, y - r); c.lineTo(x + r, y + r); c.moveTo(x + r, y - r); c.lineTo(x - r, y + r); c.stroke(); },
    old(c, x, y, r) { c.arc(x, y, r, 0, 2 * Math.PI); c.stroke(); },
  };
  const marks = (u) => {
    const own = series.get(pick.value);
    const c = u.ctx;
    const ratio = devicePixelRatio || 1;
    c.save();
    c.beginPath();
    c.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    c.clip();
    for (const limit of [option().dataset.low, option().dataset.high]) {
      if (limit === "") continue;
      const y = u.valToPos(Number(limit), "y", true);
      c.beginPath();
      c.setLineDash([6 * ratio, 5 * ratio]);
      c.strokeStyle = colour("--warn");
      c.lineWidth = ratio;
      c.moveTo(u.bbox.left, y);
      c.lineTo(u.bbox.left + u.bbox.width, y);
      c.stroke();
      c.setLineDash([]);
    }
    c.lineWidth = 2 * ratio;
    const colours = { questionable: colour("--warn"), invalid: colour("--bad"), old: colour("--muted") };
    own?.t.forEach((t, at) => {
      const level = own.q[at];
      if (!shapes[level] || own.v[at] === null || t < u.scales.x.min) return;
      c.beginPath();
      c.fillStyle = c.strokeStyle = colours[level];
      shapes[level](c, u.valToPos(t, "x", true), u.valToPos(own.v[at], "y", true), 4 * ratio);
    });
    c.restore();
  };

  const range = (u, low, high) => {
    if (low === null || high === null) return [0, 1];
    const pad = (high - low) * 0.12 || Math.max(Math.abs(high) * 0.05, 1);
    return [low - pad, high + pad];
  };
  const build = () => {
    plot?.destroy();
    const kind = option().dataset.kind;
    const names = codes();
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
    const holds = !["register", "interval"].includes(kind);
    plot = new uPlot({
      width: Math.max(200, place.clientWidth),
      height: 260,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: true, range: () => [now() - Number(stretch.value), now()] }, y: { range } },
      axes: [
        { ...axis, space: 80, size: 34, values: (u, splits) => splits.map((s) => new Date(s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: Number(stretch.value) < 600 ? "2-digit" : undefined, hourCycle: "h23" })) },
        { ...axis, size: 78, values: (u, splits) => splits.map((s) => (Object.keys(names).length ? names[String(s)] ?? "" : text(s))) },
      ],
      series: [{}, { stroke: colour("--accent"), width: 2, points: { show: false }, paths: holds ? uPlot.paths.stepped({ align: 1 }) : undefined }],
      hooks: { draw: [marks] },
    }, data(), place);
  };

  const describe = () => {
    const own = series.get(pick.value);
    const since = now() - Number(stretch.value);
    const inside = own ? own.t.map((t, at) => at).filter((at) => own.t[at] >= since && own.v[at] !== null) : [];
    place.dataset.samples = inside.length;
    if (!inside.length) { put(summary, "No reading in this time."); return; }
    const values = inside.map((at) => own.v[at]);
    const marked = inside.filter((at) => own.q[at] !== "good").length;
    const extremes = option().dataset.kind === "state" ? "" : ` lowest ${text(values.reduce((a, b) => Math.min(a, b)))}, highest ${text(values.reduce((a, b) => Math.max(a, b)))},`;
    put(summary, `Last ${text(values[values.length - 1])},${extremes} ${inside.length} ${inside.length === 1 ? "reading" : "readings"}, ${marked} marked.`);
  };
  const draw = () => {
    if (document.hidden || !plot) return;
    plot.setData(data());
    if (dirty) describe();
    dirty = false;
  };

  document.addEventListener("live:history", (event) => { series.clear(); take(event.detail); prefer(); draw(); });
  document.addEventListener("live:readings", (event) => { take(event.detail); draw(); });
  pick.addEventListener("change", () => { chosen = true; build(); dirty = true; draw(); });
  stretch.addEventListener("change", () => { dirty = true; draw(); });
  // Without a choice of the reader's, a point that has something to show is shown.
  let chosen = false;
  const prefer = () => {
    if (chosen || series.get(pick.value)?.t.length) return;
    const first = [...pick.options].find((one) => series.get(one.value)?.t.length);
    if (first) { pick.value = first.value; build(); }
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);
  new ResizeObserver(() => { if (plot && place.clientWidth) plot.setSize({ width: place.clientWidth, height: 260 }); }).observe(place);
  build();
  setInterval(draw, 1000);
})();
