"use strict";
// Both sides of a pair: a chosen checkpoint as two lanes on one clock, with the messages as arrows between them.
const bothSides = () => {
  const { data, config, narrow, timeText, theme, muted, themed, nearest, facts } = base;
  const chosen = data.pairs.map(() => null);
  const order = Object.keys(data.colours);
  const middle = { primary: 3.5, secondary: 0.5 };
  const edge = { primary: 3, secondary: 1 }; // where arrows begin and end
  const other = { primary: "secondary", secondary: "primary" };
  const ms = (ns) => ns / 1e6;
  const exact = (ns) => ns.toLocaleString("en") + " ns";

  // Begin and end of each thing that one side did, as far as they are known.
  const spans = (side, index) =>
    Object.entries(side).map(([name, [begin, end]]) => ({ name, begin: begin[index], end: end[index] }));

  const messages = ({ message }, index) =>
    Object.entries(message).map(([name, [sent, received]]) => ({ name, from: data.senders[name], sent: sent[index], received: received[index] }))
      .filter((m) => m.sent !== null && m.received !== null);

  const bars = (phases) => order.filter((phase) => phases.some((p) => p.name === phase)).map((phase) => {
    const mine = phases.filter((p) => p.name === phase);
    return {
      type: "bar", orientation: "h", name: phase, width: 0.6, base: mine.map((p) => ms(p.begin)), x: mine.map((p) => ms(p.end - p.begin)),
      y: mine.map((p) => middle[p.side]),
      marker: { color: data.colours[phase], line: { width: 1, color: muted() },
        pattern: { shape: data.textures[phase], fillmode: "overlay", fgcolor: "#000", fgopacity: 0.3, size: 6 } },
      customdata: mine.map((p) => [p.side, timeText(p.end - p.begin), exact(p.end - p.begin), timeText(p.begin), exact(p.begin)]),
      hovertemplate: `<b>%{customdata[0]}: ${phase}</b> %{customdata[1]} (%{customdata[2]})<br>from %{customdata[3]} (%{customdata[4]})<extra></extra>`,
    };
  });

  // What is known of a phase's inside: a narrow bar upon it.
  const inner = (found) => ({
    type: "bar", orientation: "h", name: found[0]?.name, width: 0.16, base: found.map((s) => ms(s.begin)), x: found.map((s) => ms(s.end - s.begin)),
    y: found.map((s) => middle[s.side] - 0.16), marker: { color: data.papers[theme()], line: { width: 1, color: data.texts[theme()] },
      pattern: { shape: "-", fillmode: "overlay", fgcolor: data.texts[theme()], fgopacity: 0.6, size: 4 } },
    customdata: found.map((s) => [s.side, timeText(s.end - s.begin), exact(s.end - s.begin)]), showlegend: found.length > 0,
    hovertemplate: "<b>%{customdata[0]}: %{fullData.name}</b> %{customdata[1]} (%{customdata[2]})<extra></extra>",
  });

  // Names of phases beside their bars, where there is room.
  const names = (phases, pixels) => {
    const fitting = phases.map((p) => {
      const room = ms(p.end - p.begin) * pixels;
      const text = [`${p.name} ${timeText(p.end - p.begin)}`, p.name].find((one) => 7.5 * one.length < room);
      return { ...p, text };
    }).filter((p) => p.text);
    return {
      type: "scatter", mode: "text", x: fitting.map((p) => ms(p.begin + p.end) / 2), text: fitting.map((p) => p.text),
      y: fitting.map((p) => middle[p.side] + (p.side === "primary" ? 0.72 : -0.72)), hoverinfo: "skip", showlegend: false,
    };
  };

  const arrows = (sent) => ({
    type: "scatter", mode: "lines+markers", showlegend: false, line: { width: 1.5, color: data.texts[theme()] },
    x: sent.flatMap((m) => [ms(m.sent), ms(m.received), null]), y: sent.flatMap((m) => [edge[m.from], edge[other[m.from]], null]),
    marker: { symbol: "arrow", angleref: "previous", size: sent.flatMap(() => [0, 12, 0]), color: data.texts[theme()] },
    text: sent.flatMap((m) => {
      const words = `<b>${m.name}</b> by the ${m.from}, on its way ${timeText(m.received - m.sent)}<br>` +
        `sent ${timeText(m.sent)} (${exact(m.sent)}), received ${timeText(m.received)} (${exact(m.received)})`;
      return [words, words, ""];
    }),
    hovertemplate: "%{text}<extra></extra>",
  });

  // Each message's name at a height of its own, so that none lies upon another.
  const titles = (sent, end) => sent.map((m, i) => {
    const y = 2.78 - (1.56 * i) / Math.max(1, sent.length - 1);
    const part = (y - edge[m.from]) / (edge[other[m.from]] - edge[m.from]);
    const x = m.sent + part * (m.received - m.sent);
    const right = x > 0.7 * end;
    const name = m.name.replace(/^(CHECKPOINT|VMSTATE)_/, "");
    return { x: ms(x), y, xanchor: right ? "right" : "left", xshift: right ? -6 : 6, showarrow: false, borderpad: 1,
      bgcolor: data.papers[theme()], opacity: 0.9, text: narrow() ? name : `${name} ${timeText(m.received - m.sent)}`, font: { size: 12 } };
  });

  // Outlines: of the checkpoint, and dotted of the pause, in each lane.
  const outlines = (found) => found.map(({ side, name, begin, end }) => ({
    type: "rect", x0: ms(begin), x1: ms(end), y0: middle[side] - (name === "paused" ? 0.4 : 0.5), y1: middle[side] + (name === "paused" ? 0.4 : 0.5),
    layer: "below", line: { width: 1.5, color: muted(), dash: name === "paused" ? "dot" : "solid" },
    ...(name === "paused" ? { fillcolor: data.grids[theme()] } : {}),
  }));

  const lanes = (number, index) => {
    const section = document.getElementById("p" + number);
    const plot = section.querySelector(".lanes");
    const { checkpoints } = data.pairs[number - 1];
    const all = Object.entries(checkpoints.side).flatMap(([side, one]) => spans(one, index).map((s) => ({ ...s, side })));
    const placed = all.filter((s) => s.begin !== null && s.end !== null);
    const phases = placed.filter((s) => order.includes(s.name));
    const sent = messages(checkpoints, index);
    const times = [...placed.flatMap((s) => [s.begin, s.end]), ...sent.flatMap((m) => [m.sent, m.received])];
    const [begin, end] = [Math.min(0, ...times), Math.max(...times)];
    const layout = themed(data.layout);
    layout.height = 440;
    layout.margin = { l: 84, r: 14, t: 34, b: 44 };
    layout.barmode = "overlay";
    layout.xaxis = { ...layout.xaxis, title: { text: "ms since the primary's checkpoint began" },
      range: [ms(begin - 0.015 * (end - begin)), ms(end + 0.015 * (end - begin))] };
    layout.yaxis = { ...layout.yaxis, range: [-0.5, 4.5], tickvals: [3.5, 0.5], ticktext: ["<b>primary</b>", "<b>secondary</b>"],
      showgrid: false, fixedrange: true };
    layout.shapes = outlines(placed.filter((s) => s.name === "checkpoint" || s.name === "paused"));
    layout.annotations = titles(sent, end);
    const pixels = Math.max(60, plot.clientWidth - 100) / ms(1.03 * (end - begin));
    Plotly.react(plot, [...bars(phases), inner(placed.filter((s) => s.name === "cache flush")), names(phases, pixels), arrows(sent)], layout, { ...config, displayModeBar: narrow() ? false : "hover" });
    const took = (side) => timeText(placed.filter((s) => s.side === side && s.name === "checkpoint").map((s) => s.end - s.begin)[0]);
    const said = `Checkpoint ${checkpoints.id[index]} (the secondary's ${checkpoints.other[index]}): the primary takes ${took("primary")}, ` +
      `the secondary ${took("secondary")}; the clocks are aligned to ± ${timeText(checkpoints.error[index])}`;
    plot.setAttribute("aria-label", [said, ...phases.map((s) => `${s.side}: ${s.name} at ${timeText(s.begin)} for ${timeText(s.end - s.begin)}`),
      ...sent.map((m) => `${m.name} of the ${m.from} sent at ${timeText(m.sent)}, received at ${timeText(m.received)}`)].join("; "));
    const rows = Object.entries(checkpoints.split).map(([wait, parts]) => [`the primary's ${wait}`, whose(parts, index)]);
    for (const s of all) if (s.begin === null || s.end === null) rows.push([`${s.side}: ${s.name}`, "not seen, or its place is not known"]);
    section.querySelector(".detail").replaceChildren(facts(rows));
    return said;
  };

  const whose = (parts, index) => {
    const known = Object.entries(parts).filter(([, values]) => values[index]);
    return known.map(([name, values]) => `${name} ${timeText(values[index])}`).join(", ") || "cannot be split in this one";
  };

  const show = (number, id) => {
    const { checkpoints, first } = data.pairs[number - 1];
    const section = document.getElementById("p" + number);
    let index = checkpoints.id.indexOf(id);
    let note = "";
    if (index < 0) {
      const given = id !== "" && !Number.isNaN(Number(id));
      index = given ? nearest(checkpoints.id.map(Number), Number(id)) : first;
      note = given ? `Checkpoint ${id} is not in this picture; the nearest that is: ` : `There is no checkpoint “${id}”; the one of median length: `;
    }
    chosen[number - 1] = index;
    section.querySelector(".said").textContent = note + lanes(number, index);
    section.querySelector(".choose input").value = checkpoints.id[index];
  };

  const go = (number, id) => {
    const hash = `#p${number}-c${encodeURIComponent(id)}`;
    if (location.hash === hash) show(number, String(id));
    else location.hash = hash;
  };

  const step = (number, by) => {
    const { id } = data.pairs[number - 1].checkpoints;
    const index = chosen[number - 1] + by;
    if (id[index] !== undefined) go(number, id[index]);
  };

  // Whether the address is that of a checkpoint here.
  const follow = () => {
    const match = /^#p(\d+)-c(.*)$/.exec(location.hash);
    if (!match || !data.pairs[match[1] - 1]) return false;
    let id = match[2];
    try {
      id = decodeURIComponent(id);
    } catch {
      // As it stands, then.
    }
    show(Number(match[1]), id);
    return Number(match[1]);
  };

  return {
    go, step, follow,
    first: (number) => chosen[number - 1] === null && show(number, data.pairs[number - 1].checkpoints.id[data.pairs[number - 1].first]),
    repaint: () => chosen.forEach((index, i) => index !== null && lanes(i + 1, index)),
  };
};
