"use strict";

// The three charts of the page, drawn by uPlot. Each has `show(...)`.
const MidcutCharts = (() => {
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const axis = more => ({
    stroke: () => colour("quiet"),
    grid: { stroke: () => colour("line"), width: 1 },
    ticks: { stroke: () => colour("line"), width: 1, size: 4 },
    font: "12px system-ui, sans-serif",
    ...more,
  });
  const fine = milliseconds => (milliseconds >= 100 ? milliseconds.toFixed(0) : milliseconds.toPrecision(3));
  const clock = [
    [3600, "{HH}:{mm}", null, null, null, null, null, null, 1],
    [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
    [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
  ];

  function make(id, options, data) {
    const place = document.getElementById(id);
    const size = () => ({ width: Math.max(place.clientWidth, 50), height: place.clientHeight });
    const plot = new uPlot({ ...size(), legend: { show: false }, padding: [12, 26, 0, 0], ...options }, data, place);
    new ResizeObserver(() => plot.setSize(size())).observe(place);
    return plot;
  }

  // The middle nine tenths set the scale, so that one slow request does not flatten the others.
  function upper(values) {
    const sorted = values.filter(value => value !== null).sort((a, b) => a - b);
    if (!sorted.length) return 1;
    const high = sorted[Math.floor(0.95 * (sorted.length - 1))];
    return Math.min(sorted[sorted.length - 1], 2 * high) * 1.12 || 1;
  }

  function cutOverTime(id) {
    let last = 1;
    const plot = make(id, {
      cursor: { drag: { setScale: false } },
      scales: { y: { range: () => [-Math.max(0.5, 0.06 * last), last + Math.max(0.5, 0.06 * last)] } },
      axes: [axis({ values: clock, space: 70, size: 28 }), axis({ size: 36, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500] })],
      series: [{}, { stroke: () => colour("accent"), width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
    }, [[], []]);
    return { show(points, lastCut) { last = lastCut; plot.setData([points.map(p => p[0]), points.map(p => p[1])]); } };
  }

  function latencyOverTime(id) {
    const plot = make(id, {
      cursor: { drag: { setScale: false } },
      scales: { y: { range: u => [0, upper([...u.data[1], ...u.data[2]])] } },
      axes: [axis({ values: clock, space: 70, size: 28 }), axis({ size: 46 })],
      series: [
        {},
        { stroke: () => colour("link"), width: 1.5, points: { show: true, size: 4, fill: () => colour("link") }, paths: () => null },
        { stroke: () => colour("edge"), width: 2, points: { show: false }, spanGaps: true },
      ],
    }, [[], [], []]);
    return {
      show(decisions, results) {
        const times = [...new Set([...decisions.map(p => p[0]), ...results.map(p => p[0])])].sort((a, b) => a - b);
        const measured = new Map(results.map(p => [p[0], p[1] * 1e3]));
        const predicted = new Map(decisions.map(p => [p[0], p[2] === null ? null : p[2] * 1e3]));
        const get = known => times.map(at => (known.has(at) ? known.get(at) : null));
        plot.setData([times, get(measured), get(predicted)]);
      },
    };
  }

  function triangle(context, x, y, size, filled) {
    context.beginPath();
    context.moveTo(x - size, y - size * 1.7);
    context.lineTo(x + size, y - size * 1.7);
    context.lineTo(x, y);
    context.closePath();
    context.fillStyle = context.strokeStyle = colour("text");
    context.lineWidth = size / 3.5;
    if (filled) context.fill(); else context.stroke();
  }

  function mark(plot, row, total, filled) {
    if (row < 0) return;
    const x = plot.valToPos(row, "x", true);
    const y = Math.max(plot.valToPos(total, "y", true), plot.bbox.top + 14 * devicePixelRatio);
    triangle(plot.ctx, x, y - 3 * devicePixelRatio, 5 * devicePixelRatio, filled);
  }

  // Whether two rows are one placement; only those of three tiers have a second cut.
  const same = (one, other) => ["cut", "codec", "second_cut", "second_codec"].every(name => one[name] === other[name]);

  function forecast(id, chooseRow) {
    let rows = [], chosen = -1, second = -1, top = 1;
    const bars = uPlot.paths.bars({ size: [0.72, 40] });
    const series = name => ({ fill: () => colour(name), stroke: () => colour(name), width: 0, paths: bars, points: { show: false } });
    const plot = make(id, {
      cursor: { drag: { x: false, y: false, setScale: false }, points: { show: false } },
      scales: {
        x: { time: false, range: () => [-0.6, Math.max(rows.length - 0.4, 0.6)] },
        y: { range: () => [0, top] },
      },
      axes: [
        axis({ space: 24, size: 28, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100], values: (_, at) => at.map(i => (rows[i] ? rows[i].cut : "")) }),
        axis({ size: 46 }),
      ],
      // Drawn from the back: each bar covers all but the last part of the one before it.
      series: [{}, series("cloud"), series("second-link"), series("relay"), series("link"), series("edge")],
      hooks: {
        draw: [u => {
          if (chosen >= 0) mark(u, chosen, rows[chosen].latency_s * 1e3, true);
          if (second >= 0 && second !== chosen) mark(u, second, rows[second].latency_s * 1e3, false);
        }],
        setCursor: [u => chooseRow(u.cursor.idx === null || u.cursor.idx === undefined ? null : rows[u.cursor.idx])],
      },
    }, [[], [], [], [], [], []]);
    return {
      // Rows of forecast, the chosen and the second best placement. Returns how many bars are longer than the chart.
      show(all, placement, runnerUp) {
        const best = new Map();
        for (const row of all) {
          const before = best.get(row.cut);
          if (!before || same(row, placement) || (row.latency_s < before.latency_s && !same(before, placement))) best.set(row.cut, row);
        }
        rows = [...best.values()].sort((a, b) => a.cut - b.cut);
        chosen = rows.findIndex(row => row.cut === placement.cut);
        second = runnerUp ? rows.findIndex(row => row.cut === runnerUp.cut) : -1;
        const totals = rows.map(row => row.latency_s * 1e3);
        const sorted = [...totals].sort((a, b) => a - b);
        const usual = sorted.length ? 4 * sorted[Math.floor((sorted.length - 1) / 2)] : 1;
        const marked = Math.max(chosen >= 0 ? totals[chosen] : 0, second >= 0 ? totals[second] : 0);
        const longest = sorted[sorted.length - 1] || 1;
        top = Math.min(longest, Math.max(usual, marked)) * 1.18;
        const upTo = (...parts) => rows.map(row => parts.reduce((sum, name) => sum + (row[`${name}_s`] || 0), 0) * 1e3);
        plot.setData([
          rows.map((_, index) => index),
          totals,
          upTo("edge", "link", "relay", "second_link"),
          upTo("edge", "link", "relay"),
          upTo("edge", "link"),
          upTo("edge"),
        ]);
        return totals.filter(total => total > top).length;
      },
      resize: () => plot.redraw(),
    };
  }

  return { cutOverTime, latencyOverTime, forecast, fine };
})();
