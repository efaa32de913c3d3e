"use strict";
// Draws what Python has computed (figures, checkpoints by column); computes nothing but where the chosen one's bars lie.
(() => {
  const { data, config, narrow, unpack, timeText, theme, muted, themed, nearest } = base;
  const drawn = new Set();
  const chosen = data.series.map(() => null);
  const order = [...Object.keys(data.colours)];

  // Marks that are no phase have the text's colour.
  const inked = (traces) => traces.map((trace) => (trace.meta !== "ink" ? trace : { ...trace,
    marker: { ...trace.marker, color: data.texts[theme()], line: { ...trace.marker.line, color: data.texts[theme()] } } }));

  // Figures come into view one by one: a page may have dozens of series.
  const draw = (plot) => {
    const { pair, series } = plot.dataset;
    const number = Number(pair ?? series);
    const figure = (pair ? data.pairs : data.series)[number - 1].figures[plot.dataset.figure];
    if (!figure.data.length) {
      plot.textContent = "Nothing to draw: no completed checkpoint, or none whose times are all known.";
      plot.style.minHeight = "0";
      return;
    }
    const layout = themed(figure.layout);
    if (narrow()) Object.assign(layout.margin, { l: 48, r: 6 });
    Plotly.react(plot, inked(figure.data), layout, { ...config, displayModeBar: narrow() ? false : "hover" });
    if (!drawn.has(plot) && ["time", "waits"].includes(plot.dataset.figure)) {
      plot.on("plotly_click", (event) => {
        const row = event.points[0].customdata[0];
        if (pair) return both.go(number, row);
        const { checkpoints } = data.series[number - 1];
        const index = nearest(checkpoints.row, row);
        go(number, checkpoints.id[index]);
      });
    }
    drawn.add(plot);
  };

  // The index of the slowest among the checkpoints that are here.
  const slowest = (number) => {
    const { checkpoints, slowest: rows } = data.series[number - 1];
    return nearest(checkpoints.row, rows[0] ?? 0);
  };

  // The events of one checkpoint, as they happened: phases with their begin and length, marks with their moment.
  const events = (series, index) => {
    const { checkpoints } = series;
    const rows = [];
    let cursor = 0;
    for (const phase of Object.keys(checkpoints.gap)) {
      const gap = checkpoints.gap[phase][index];
      const length = checkpoints.length[phase][index];
      if (gap === null) {
        rows.push({ name: phase, phase, begin: null, length });
        continue;
      }
      rows.push({ name: phase, phase, begin: cursor + gap, length });
      cursor += gap + length;
    }
    for (const [name, moments] of Object.entries(checkpoints.mark)) {
      if (moments[index] !== null && moments[index] >= 0) rows.push({ name, begin: moments[index], length: 0 });
    }
    const rank = (row) => (row.phase ? order.indexOf(row.phase) : -1);
    return rows.filter((r) => r.begin !== null).sort((a, b) => a.begin - b.begin || rank(a) - rank(b))
      .concat(rows.filter((r) => r.begin === null));
  };

  const unplaced = (row) => (row.length === null ? "not seen" : `${timeText(row.length)}, its place not known`);

  const waterfall = (number, index) => {
    const series = data.series[number - 1];
    const section = document.getElementById("s" + number);
    const plot = section.querySelector(".waterfall");
    const { checkpoints } = series;
    const rows = events(series, index);
    const names = rows.map((r) => r.name);
    const placed = rows.filter((r) => r.begin !== null);
    const phases = placed.filter((r) => r.phase);
    const moments = placed.filter((r) => !r.phase);
    const end = checkpoints.total_ns[index] ?? Math.max(...placed.map((r) => r.begin + r.length));
    const bar = {
      type: "bar", orientation: "h", base: phases.map((r) => r.begin / 1e6), x: phases.map((r) => r.length / 1e6),
      y: phases.map((r) => r.name), width: 0.78, showlegend: false,
      marker: {
        color: phases.map((r) => data.colours[r.phase]), line: { width: 1, color: muted() },
        pattern: { shape: phases.map((r) => data.textures[r.phase]), fillmode: "overlay", fgcolor: "#000", fgopacity: 0.3, size: 6 },
      },
      customdata: phases.map((r) => [timeText(r.length), timeText(r.begin), r.length.toLocaleString("en"), r.begin.toLocaleString("en")]),
      hovertemplate: "<b>%{y}</b> %{customdata[0]} (%{customdata[2]} ns)<br>from +%{customdata[1]} (%{customdata[3]} ns)<extra></extra>",
    };
    const label = {
      type: "scatter", mode: "text", x: rows.map((r) => (r.begin === null ? 0 : (r.begin + r.length) / 1e6)), y: names,
      text: rows.map((r) => (r.begin === null ? `  ${unplaced(r)}` : r.phase ? `  ${timeText(r.length)}` : `   +${timeText(r.begin)}`)),
      textposition: "middle right",
      hoverinfo: "skip", showlegend: false, cliponaxis: false,
    };
    const mark = {
      type: "scatter", mode: "markers", x: moments.map((r) => r.begin / 1e6), y: moments.map((r) => r.name), showlegend: false,
      marker: { symbol: "diamond", size: 9, color: data.texts[theme()] },
      text: moments.map((r) => `+${timeText(r.begin)} (${r.begin.toLocaleString("en")} ns)`), hovertemplate: "<b>%{y}</b> %{text}<extra></extra>",
    };
    const layout = themed(data.layout);
    const room = 1 + 90 / Math.max(60, plot.clientWidth - 240); // for the last label
    const pause = ["vm-stop", "vm-started"].map((name) => checkpoints.mark[name]?.[index] ?? null);
    layout.height = 96 + 23 * rows.length;
    layout.margin = { l: 10, r: 14, t: 30, b: 44 };
    layout.barmode = "overlay";
    layout.xaxis = { ...layout.xaxis, title: { text: "ms since the checkpoint began" }, range: [-0.01 * end / 1e6, (end * room) / 1e6] };
    layout.yaxis = { ...layout.yaxis, type: "category", categoryorder: "array", categoryarray: [...names].reverse(),
      range: [-0.6, names.length - 0.4], automargin: true, fixedrange: true };
    if (pause[0] !== null && pause[1] !== null) {
      layout.shapes = [{ type: "rect", xref: "x", yref: "paper", x0: pause[0] / 1e6, x1: pause[1] / 1e6, y0: 0, y1: 1, layer: "below",
        line: { width: 1, dash: "dot", color: muted() }, fillcolor: muted(), opacity: 0.16 }];
      layout.annotations = [{ x: pause[0] / 1e6, xref: "x", xanchor: "left", y: 1, yref: "paper", yanchor: "bottom", showarrow: false,
        text: `VM paused ${timeText(checkpoints.pause_ns[index])}` }];
    }
    Plotly.react(plot, [bar, mark, label], layout, { ...config, displayModeBar: narrow() ? false : "hover" });
    const longest = phases.reduce((a, b) => (b.length > (a?.length ?? -1) ? b : a), null);
    const said = `Checkpoint ${checkpoints.id[index]}: total ${timeText(checkpoints.total_ns[index])}, pause ` +
      `${timeText(checkpoints.pause_ns[index])}` + (longest ? `, longest phase ${longest.phase} ${timeText(longest.length)}` : "");
    plot.setAttribute("aria-label", said + ". " + placed.map((r) => `${r.name} at ${timeText(r.begin)}` +
      (r.phase ? ` for ${timeText(r.length)}` : "")).join("; "));
    detail(section, series, index);
    return said;
  };

  const detail = (section, { checkpoints }, index) => {
    const facts = [["wait before it", timeText(checkpoints.wait_ns[index])], ["other (between phases)", timeText(checkpoints.other_ns[index])]];
    for (const [name, title] of [["ram_bytes", "ram"], ["device_bytes", "device state"], ["ram_pages", "ram pages"]]) {
      const value = checkpoints[name][index];
      if (value !== null) facts.push([title, value.toLocaleString("en") + (name.endsWith("bytes") ? " bytes" : "")]);
    }
    const reasons = checkpoints.missing["*"] || checkpoints.missing[index] || {};
    for (const [name, reason] of Object.entries(reasons)) facts.push([name, "null: " + reason]);
    section.querySelector(".detail").replaceChildren(base.facts(facts));
  };

  const show = (number, id) => {
    const { checkpoints } = data.series[number - 1];
    if (!checkpoints.id.length) return;
    const section = document.getElementById("s" + number);
    let index = checkpoints.id.indexOf(id);
    let note = "";
    if (index < 0) {
      const numbers = checkpoints.id.map((one) => Number(one.split(".").pop()));
      const wanted = Number(id);
      const given = id !== "" && !Number.isNaN(wanted);
      index = given ? nearest(numbers, wanted) : slowest(number);
      note = given ? `Checkpoint ${id} is not in this page; the nearest that is: ` : `There is no checkpoint “${id}”; the slowest: `;
    }
    chosen[number - 1] = index;
    section.querySelector(".said").textContent = note + waterfall(number, index);
    section.querySelector(".choose input").value = checkpoints.id[index];
    for (const link of section.querySelectorAll(".slow th a")) {
      const current = link.textContent === checkpoints.id[index];
      link.toggleAttribute("aria-current", current);
      if (current) link.setAttribute("aria-current", "true");
      link.closest("tr").classList.toggle("current", current);
    }
  };

  const go = (number, id) => {
    const hash = `#s${number}-c${encodeURIComponent(id)}`;
    if (location.hash === hash) show(number, id);
    else location.hash = hash;
  };

  const follow = (scroll) => {
    const pair = both.follow();
    if (pair) {
      const { top, bottom } = document.querySelector(`#p${pair} .lanes`).getBoundingClientRect();
      if (scroll || top > innerHeight || bottom < 0) document.getElementById("wp" + pair).scrollIntoView();
      return;
    }
    const match = /^#s(\d+)-c(.*)$/.exec(location.hash);
    if (!match || !data.series[match[1] - 1]) return;
    let id = match[2];
    try {
      id = decodeURIComponent(id);
    } catch {
      // An address that somebody has broken is no reason to draw nothing.
    }
    show(Number(match[1]), id);
    if (scroll) document.getElementById("w" + match[1]).scrollIntoView();
  };

  const listen = () => {
    addEventListener("hashchange", () => follow(false));
    document.addEventListener("submit", (event) => {
      event.preventDefault();
      const { pair, series } = event.target.dataset;
      (pair ? both.go : go)(Number(pair ?? series), event.target.querySelector("input").value.trim().replace(/^#/, ""));
    });
    document.addEventListener("click", (event) => {
      const step = Number(event.target.dataset?.step);
      if (!step) return;
      if (event.target.form.dataset.pair) return both.step(Number(event.target.form.dataset.pair), step);
      const number = Number(event.target.form.dataset.series);
      const { id } = data.series[number - 1].checkpoints;
      const index = chosen[number - 1] + step;
      if (id[index] !== undefined) go(number, id[index]);
    });
    document.addEventListener("keydown", (event) => {
      const row = event.target.closest?.(".slow tr");
      const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
      const link = row && step && row[step]?.querySelector("th a");
      if (!link) return;
      event.preventDefault();
      link.focus();
      link.click();
    });
  };

  const both = bothSides();
  const button = document.getElementById("theme");
  const name = () => {
    button.textContent = theme() === "dark" ? "Light colours" : "Dark colours";
    button.setAttribute("aria-pressed", String(theme() === "dark"));
  };
  const repaint = () => {
    name();
    drawn.forEach(draw);
    chosen.forEach((index, i) => index !== null && waterfall(i + 1, index));
    both.repaint();
  };

  const pictures = () => document.querySelectorAll(".plot, .waterfall, .lanes");
  const begin = (plot) => {
    const { figure, pair, series } = plot.dataset;
    if (figure) drawn.has(plot) || draw(plot);
    else if (pair) both.first(Number(pair));
    else if (chosen[series - 1] === null) show(Number(series), data.series[series - 1].checkpoints.id[slowest(Number(series))]);
  };

  // On paper there are all pictures, as wide as the page (page.css), in light colours.
  let screen;
  const paper = (printing) => {
    const { dataset } = document.documentElement;
    if (printing) screen = dataset.theme;
    if (printing) dataset.theme = "light";
    else if (screen) dataset.theme = screen;
    else delete dataset.theme;
    pictures().forEach((plot) => {
      plot.style.width = printing ? "700px" : "";
      if (printing) begin(plot);
    });
    repaint();
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
    repaint();
  });
  name();

  unpack().then(() => {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        watch.unobserve(entry.target);
        begin(entry.target);
      }
    }, { rootMargin: "400px" });
    pictures().forEach((plot) => watch.observe(plot));
    addEventListener("beforeprint", () => paper(true));
    addEventListener("afterprint", () => paper(false));
    listen();
    follow(true);
    document.documentElement.dataset.ready = "true";
  }).catch((error) => {
    const failure = document.getElementById("failure");
    failure.textContent = "The pictures cannot be drawn: " + error.message;
    failure.hidden = false;
  });
})();
