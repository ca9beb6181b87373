// Draws the charts from the data in the page, and sorts tables. Colours are the page's own, so that they follow its theme.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const charts = [];

  const numbers = (text, kind) => new kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const floats = (text) => Array.from(numbers(text, Float32Array), (v) => (Number.isNaN(v) ? null : v));
  const shown = (value) => (value == null ? "–" : value.toPrecision(6).replace(/\.?0+$/, ""));
  const day = (seconds) => {
    const text = new Date(seconds * 1000).toISOString();
    return data.forecast.daily ? text.slice(0, 10) : text.slice(0, 16).replace("T", " ");
  };

  const axis = (more) => ({
    stroke: () => colour("text"), grid: { stroke: () => colour("grid"), width: 1 },
    ticks: { stroke: () => colour("grid"), width: 1 }, font: "12px system-ui, sans-serif", ...more,
  });
  const line = (label, name, more) => ({
    label, stroke: () => colour(name), width: 1.5, points: { show: false }, value: (_, v) => shown(v), ...more,
  });

  // Persistence is drawn wide below the thin model: the curves often coincide, and both stay in sight.
  const compared = (persistence, model) => [
    line(persistence, "persistence", { width: 4 }), line(model, "model", { width: 1.5 }),
  ];

  // How uPlot labels dates, from years to minutes: the step in seconds, the label, and what is added below it
  // where year, month and day change.
  const DATES = [
    [31536000, "{YYYY}", null, null, null, null, null, null, 1],
    [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  ];

  function draw(place, description, options, values) {
    const element = document.getElementById(place);
    const known = charts.findIndex((chart) => chart.element === element);
    if (known >= 0) charts.splice(known, 1)[0].plot.destroy();
    const plot = new uPlot({ width: element.clientWidth, height: 300, ...options }, values, element);
    plot.ctx.canvas.setAttribute("role", "img");
    plot.ctx.canvas.setAttribute("aria-label", description);
    charts.push({ element, plot });
    return plot;
  }

  function resize(width) {
    for (const { element, plot } of charts) {
      plot.setSize({ width: width || element.clientWidth, height: plot.height });
    }
  }

  function forecast(symbol) {
    const series = data.forecast.symbols[symbol];
    const dates = Array.from(numbers(series.dates, Float64Array));
    const [actual, model, last] = [series.actual, series.model, series.last].map(floats);
    const banded = "lower" in series;
    const values = [dates, actual, last, model];
    const lines = [
      { value: (_, v) => (v == null ? "–" : day(v)), label: "date" },
      line("actual", "actual"), ...compared("persistence", "model"),
    ];
    if (banded) {
      values.push(floats(series.upper), floats(series.lower));
      for (const end of ["high", "low"]) lines.push(line(`${data.forecast.interval} ${end}`, "model", { width: 0.5 }));
    }
    const shared = {
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { sync: { key: "forecast", setSeries: false }, drag: { x: true, y: false } },
    };
    const about = `${data.forecast.part} part of ${symbol}, ${dates.length} targets from ${day(dates[0])} to ${day(dates[dates.length - 1])}`;
    const prices = draw("prices", `Prices: actual, model and persistence; ${about}`, {
      ...shared, height: 340, series: lines, axes: [axis({ values: DATES }), axis({ label: data.forecast.column, labelSize: 22, size: 64 })],
      bands: banded ? [{ series: [4, 5], fill: () => colour("band") }] : [],
      hooks: { setScale: [(plot, key) => key === "x" && follow(plot, errors)] },
    }, values);
    const difference = (method) => method.map((v, i) => (v == null || actual[i] == null ? null : v - actual[i]));
    const errors = draw("residuals", `Errors of model and persistence; ${about}`, {
      ...shared, height: 190,
      series: [lines[0], ...compared("persistence − actual", "model − actual")],
      axes: [axis({ values: DATES }), axis({ label: `error of ${data.forecast.column}`, labelSize: 22, size: 64 })],
      hooks: { setScale: [(plot, key) => key === "x" && follow(plot, prices)] },
    }, [dates, difference(last), difference(model)]);
    zoom = (targets) => prices.setScale("x", {
      min: dates[targets ? Math.max(0, dates.length - targets) : 0], max: dates[dates.length - 1],
    });
    document.getElementById("symbol").value = symbol;
  }

  let zoom = () => {};
  let following = false;
  function follow(from, to) {
    if (following || !to) return;
    const { min, max } = from.scales.x;
    if (to.scales.x.min === min && to.scales.x.max === max) return;
    following = true;
    to.setScale("x", { min, max });
    following = false;
  }

  function losses() {
    const { train, means, validation, persistence, logarithmic } = data.losses;
    const epochs = [...new Set([train[0], means[0], validation[0]].flat())].sort((a, b) => a - b);
    const at = ([x, y]) => {
      const found = new Map(x.map((epoch, i) => [epoch, y[i]]));
      return epochs.map((epoch) => found.get(epoch) ?? null);
    };
    const joined = { spanGaps: true };
    const dots = { show: true, size: 7 };
    const lines = [
      { label: "epoch", value: (_, v) => (v == null ? "–" : v.toFixed(2)) },
      line("train", "train", { ...joined, width: 1 }),
      line("train, mean of the epoch", "mean", { ...joined, points: dots }),
      line("validation", "validation", { ...joined, points: dots, dash: [6, 3] }),
    ];
    const values = [epochs, at(train), at(means), at(validation)];
    if (persistence != null) {
      lines.push(line("persistence on validation", "actual", { ...joined, dash: [2, 3] }));
      values.push(epochs.map(() => persistence));
    }
    draw("losses-chart", `Losses over ${data.losses.epochs} epochs`, {
      height: 320, series: lines, scales: { x: { time: false }, y: { distr: logarithmic ? 3 : 1 } },
      axes: [axis({ label: "epoch", labelSize: 22 }), axis({ label: "loss, scaled units", labelSize: 22, size: 64 })],
    }, values);
  }

  function sortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      cell.querySelector("button").addEventListener("click", () => {
        const up = cell.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => {
          const text = row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
          return text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text);
        };
        const order = (a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === null || y === null) return (x === null) - (y === null); // what is not known comes last
          return (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y))) * (up ? 1 : -1);
        };
        body.append(...[...body.rows].sort(order));
      });
    });
  }

  if (data.forecast) {
    const chooser = document.getElementById("symbol");
    chooser.addEventListener("change", () => forecast(chooser.value));
    for (const button of document.querySelectorAll("button[data-last]")) {
      button.addEventListener("click", () => zoom(Number(button.dataset.last)));
    }
    for (const button of document.querySelectorAll("button[data-symbol]")) {
      button.addEventListener("click", () => {
        forecast(button.dataset.symbol);
        document.getElementById("forecast").scrollIntoView();
      });
    }
    forecast(chooser.value);
  }
  if (data.losses) losses();
  document.querySelectorAll("table.sortable").forEach(sortable);
  window.addEventListener("resize", () => resize());
  window.addEventListener("beforeprint", () => resize(680));
  window.addEventListener("afterprint", () => resize());
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(query).addEventListener("change", () => charts.forEach(({ plot }) => plot.redraw()));
  }
})();
