
"use strict";
(() => {
  const rows = JSON.parse(document.getElementById("data").textContent).rows;
  const element = (id) => document.getElementById(id);
  const make = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const unique = (values) => [...new Set(values)].sort((a, b) => a.localeCompare(b));

  // A metric is task/split/name. STS12 to STS16 have `spearman_all` where others have `spearman`.
  const parts = unique(rows.flatMap((row) => Object.keys(row.metrics))).map((name) => name.split("/"));
  const splits = ["test", "dev", "all"].filter((split) => parts.some((part) => part[1] === split));
  const names = { spearman: ["spearman", "spearman_all", "spearman_weighted", "spearman_all_weighted"],
    alignment: ["alignment"], uniformity: ["uniformity"] };
  const tasks = unique(parts.map((part) => part[0]));
  const chinese = ["atec", "bq", "lcqmc", "pawsx", "stsb_zh"].filter((task) => tasks.includes(task));

  const fill = (id, values, all) => {
    if (all) element(id).append(make("option", "all", { value: "" }));
    for (const value of values) element(id).append(make("option", value, { value }));
  };
  fill("experiment", unique(rows.map((row) => row.experiment)), true);
  fill("encoder", unique(rows.map((row) => row.encoder)), true);
  fill("split", splits);
  fill("metric", Object.keys(names));
  for (const task of tasks) {
    const label = make("label", task);
    const box = make("input", undefined, { type: "checkbox", value: task });
    box.checked = chinese.includes(task) || chinese.length === 0;
    label.prepend(box);
    element("tasks").append(label);
  }

  let sorted = { column: "average", descending: true };

  const cellOf = (row, task, split, metric) => {
    for (const name of names[metric]) {
      const cell = row.metrics[`${task}/${split}/${name}`];
      if (cell) return cell;
    }
    return undefined;
  };

  const state = () => ({
    experiment: element("experiment").value, encoder: element("encoder").value, split: element("split").value,
    metric: element("metric").value, words: element("find").value.toLowerCase().split(/\s+/).filter(Boolean),
    tasks: [...element("tasks").querySelectorAll("input:checked")].map((box) => box.value),
  });

  const view = () => {
    const now = state();
    const scale = now.metric === "spearman" ? 100 : 1;
    const shown = [];
    for (const row of rows) {
      if (now.experiment && row.experiment !== now.experiment) continue;
      if (now.encoder && row.encoder !== now.encoder) continue;
      const text = `${row.label} ${row.config} ${row.group}`.toLowerCase();
      if (!now.words.every((word) => text.includes(word))) continue;
      const cells = now.tasks.map((task) => cellOf(row, task, now.split, now.metric));
      if (cells.every((cell) => cell === undefined) && row.seeds > 0) continue;
      if (cells.every((cell) => cell === undefined) && row.source) continue;
      const whole = cells.length > 0 && cells.every((cell) => cell !== undefined);
      const average = whole ? cells.reduce((sum, cell) => sum + cell[0], 0) / cells.length : undefined;
      shown.push({ row, cells, average });
    }
    const digits = scale === 100 ? 1 : 3;
    return { ...now, shown, format: (value) => (value * scale).toFixed(digits) };
  };

  const key = (item, column, now) => {
    if (column === "label") return item.row.label;
    if (column === "experiment") return item.row.experiment;
    if (column === "encoder") return item.row.encoder;
    if (column === "n") return item.row.seeds;
    if (column === "average") return item.average;
    const cell = item.cells[now.tasks.indexOf(column)];
    return cell ? cell[0] : undefined;
  };

  const sort = (now) => {
    const sign = sorted.descending ? -1 : 1;
    now.shown.sort((a, b) => {
      const [first, second] = [key(a, sorted.column, now), key(b, sorted.column, now)];
      // What was not measured stands last, whichever way.
      if (first === undefined || second === undefined) return (first === undefined) - (second === undefined);
      return sign * (typeof first === "string" ? first.localeCompare(second) : first - second);
    });
  };

  const heading = (column, text, isText) => {
    const head = make("th", undefined, { scope: "col" });
    if (isText) head.className = column === "label" ? "text" : "text quiet";
    if (sorted.column === column) head.setAttribute("aria-sort", sorted.descending ? "descending" : "ascending");
    const button = make("button", text, { type: "button", "data-column": column });
    button.addEventListener("click", () => {
      sorted = { column, descending: sorted.column === column ? !sorted.descending : !isText };
      render();
    });
    head.append(button);
    return head;
  };

  const tip = (cell, now) => {
    if (cell[1] === null) return "";
    return `± ${now.format(cell[1])}, 95 % interval ${now.format(cell[2])} to ${now.format(cell[3])}`;
  };

  const render = () => {
    const now = view();
    if (!now.tasks.includes(sorted.column) && tasks.includes(sorted.column)) {
      sorted = { column: "average", descending: true };
    }
    sort(now);
    const head = make("tr");
    head.append(heading("label", "configuration", true), heading("experiment", "experiment", true),
      heading("encoder", "encoder", true), heading("n", "n"));
    for (const task of now.tasks) head.append(heading(task, task));
    head.append(heading("average", "average"));
    document.querySelector("#runs thead").replaceChildren(head);
    const body = document.querySelector("#runs tbody");
    body.replaceChildren(...now.shown.map(({ row, cells, average }) => {
      const line = make("tr");
      line.append(make("td", row.label + (row.transductive ? " †" : ""), { class: "text" }),
        make("td", row.experiment, { class: "text quiet" }), make("td", row.encoder, { class: "text quiet" }),
        make("td", row.source ? "" : row.tried > row.seeds ? `${row.seeds} of ${row.tried}` : row.seeds));
      cells.forEach((cell, place) => {
        const field = make("td", cell ? undefined : "—");
        if (cell) {
          const button = make("button", now.format(cell[0]), { type: "button", title: tip(cell, now) });
          button.addEventListener("click", () => open(row, now.tasks[place], now));
          field.append(button);
        }
        line.append(field);
      });
      line.append(make("td", average === undefined ? "—" : now.format(average)));
      return line;
    }));
    element("count").textContent = `${now.shown.length} of ${rows.length} configurations, `
      + `${now.shown.reduce((sum, item) => sum + item.row.tried, 0)} runs`;
  };

  // Dev score over steps, a line for each seed; the selected step is a dot.
  const curves = (row) => {
    const lines = row.runs.filter((run) => run.curve.length > 1);
    if (lines.length === 0) return undefined;
    const points = lines.flatMap((run) => run.curve);
    const [width, height, edge] = [640, 220, 44];
    const steps = Math.max(...points.map((point) => point[0]), 1);
    const low = Math.min(...points.map((point) => point[1]));
    const high = Math.max(...points.map((point) => point[1]), low + 1e-6);
    const x = (step) => edge + (step / steps) * (width - edge - 10);
    const y = (score) => height - 24 - ((score - low) / (high - low)) * (height - 40);
    const space = "http://www.w3.org/2000/svg";
    const draw = (name, attributes, text) => {
      const made = document.createElementNS(space, name);
      for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
      if (text !== undefined) made.textContent = text;
      return made;
    };
    const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "dev score over steps" });
    const colours = ["#3b82f6", "#d97706", "#10966e", "#be50be", "#dc3c3c"];
    lines.forEach((run, place) => {
      const colour = colours[place % colours.length];
      const path = run.curve.map((point) => `${x(point[0])},${y(point[1])}`).join(" ");
      picture.append(draw("polyline", { points: path, fill: "none", stroke: colour, "stroke-width": 1.5 }));
      const selected = run.curve.find((point) => point[0] === run.selected_step);
      if (selected) picture.append(draw("circle", { cx: x(selected[0]), cy: y(selected[1]), r: 4, fill: colour }));
    });
    const grey = { fill: "#808080", "font-size": 11, "font-family": "sans-serif" };
    picture.append(draw("text", { ...grey, x: 2, y: y(high) + 4 }, (100 * high).toFixed(1)),
      draw("text", { ...grey, x: 2, y: y(low) + 4 }, (100 * low).toFixed(1)),
      draw("text", { ...grey, x: edge, y: height - 4 }, "0"),
      draw("text", { ...grey, x: width - 10, y: height - 4, "text-anchor": "end" }, `${steps} steps`));
    return picture;
  };

  const open = (row, task, now) => {
    element("run-title").textContent = row.label;
    const body = element("run-body");
    body.replaceChildren(make("p", row.source ?? `${row.experiment}/${row.config} · ${row.encoder}`));
    const table = make("table");
    for (const run of row.runs) {
      const line = make("tr");
      const value = names[now.metric].map((name) => run.metrics[`${task}/${now.split}/${name}`])
        .find((found) => found !== undefined);
      line.append(make("td", `seed ${run.seed}`, { class: "text" }),
        make("td", value === undefined ? `${run.status}: ${run.reason ?? ""}` : `${task} ${now.format(value)}`));
      const links = make("td", undefined, { class: "text" });
      for (const [name, file] of [["configuration", "config.toml"], ["environment", "env.json"],
        ["data", "data.json"], ["curve", "metrics.jsonl"], ["summary", "summary.json"]]) {
        links.append(make("a", name, { href: `${run.folder}/${file}` }), " ");
      }
      line.append(links);
      table.append(line);
    }
    body.append(table);
    const picture = curves(row);
    if (picture) body.append(make("p", "Mean dev Spearman over steps; a dot is the selected step:"), picture);
    element("run").showModal();
  };

  element("filters").addEventListener("input", render);
  element("filters").addEventListener("submit", (event) => event.preventDefault());
  render();
})();
