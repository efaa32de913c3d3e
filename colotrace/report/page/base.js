"use strict";
// What every picture of the page needs: its data, the drawing library, times as text, colours.
const base = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  // Named one by one, so that no button of a later plotly.js reaches out for a network.
  const buttons = [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]];
  const config = { responsive: true, displaylogo: false, modeBarButtons: buttons };
  const narrow = () => innerWidth < 600;

  const unpack = async () => {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser cannot unpack gzip (DecompressionStream); one from 2023 or later can");
    }
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    if (!window.Plotly) throw new Error("the drawing library did not run");
  };

  // Times as everywhere in colotrace: three digits or four, and a unit.
  const timeText = (ns) => {
    if (ns === null || ns === undefined) return "-";
    if (ns < 0) return "-" + timeText(-ns);
    for (const [factor, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]]) {
      if (ns >= factor) {
        const scaled = ns / factor;
        return scaled.toFixed(factor === 1 ? 0 : scaled < 10 ? 2 : scaled < 100 ? 1 : 0) + " " + unit;
      }
    }
    return "0 ns";
  };

  const theme = () =>
    document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const muted = () => getComputedStyle(document.documentElement).getPropertyValue("--muted").trim();
  const themed = (layout) => {
    const copy = structuredClone(layout);
    for (const [path, value] of Object.entries(data.themes[theme()])) {
      const names = path.split(".");
      const last = names.pop();
      if (/^[xy]axis/.test(names[0]) && !copy[names[0]]) continue;
      names.reduce((at, name) => (at[name] ??= {}), copy)[last] = value;
    }
    return copy;
  };

  const nearest = (ascending, value) => {
    let best = 0;
    for (let i = 1; i < ascending.length; i++) {
      if (Math.abs(ascending[i] - value) < Math.abs(ascending[best] - value)) best = i;
    }
    return best;
  };

  // Named facts as a list.
  const facts = (pairs) => {
    const list = document.createElement("dl");
    list.className = "facts";
    for (const [name, value] of pairs) {
      const pair = document.createElement("div");
      const term = document.createElement("dt");
      const description = document.createElement("dd");
      term.textContent = name;
      description.textContent = value;
      pair.append(term, description);
      list.append(pair);
    }
    return list;
  };

  return { data, config, narrow, unpack, timeText, theme, muted, themed, nearest, facts };
})();
