"use strict";
// Sorting, the two boxes of groups, the epoch slider and the theme. All text is set as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Theme: what the system prefers, until the button is used.
const theme = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
function showTheme() {
  const preferred = document.documentElement.dataset.theme;
  theme.setAttribute("aria-pressed", String(preferred ? preferred === "dark" : system.matches));
}
theme.hidden = false;
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = theme.getAttribute("aria-pressed") === "true" ? "light" : "dark";
  showTheme();
});
system.addEventListener("change", showTheme);
showTheme();

// Tables: numbers begin with the largest, names with the first; what was not measured comes last either way.
const words = new Intl.Collator("en", { numeric: true });
function sortTable(table) {
  const header = table.querySelector('th[aria-sort="ascending"], th[aria-sort="descending"]');
  if (!header) return;
  const sign = header.getAttribute("aria-sort") === "ascending" ? 1 : -1;
  const column = header.cellIndex;
  const number = header.classList.contains("number");
  const rows = [...table.tBodies[0].rows];
  const compare = (a, b) => {
    const [x, y] = [a.cells[column], b.cells[column]];
    if (!number) return sign * words.compare(x.textContent, y.textContent);
    const [p, q] = [x.dataset.value, y.dataset.value];
    if (p === undefined || q === undefined) return (p === undefined) - (q === undefined);
    return sign * (Number(p) - Number(q));
  };
  table.tBodies[0].append(...rows.sort(compare));
}
for (const button of all("th[aria-sort] button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const turned = { ascending: "descending", descending: "ascending" }[header.getAttribute("aria-sort")];
    for (const other of all("th", header.parentNode)) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", turned || (header.classList.contains("number") ? "descending" : "ascending"));
    sortTable(header.closest("table"));
  });
}

// Accuracy by class: the same rows as the page came with, for the two groups in the boxes.
function make(name, text, settings = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  return Object.assign(made, settings);
}
function oneDigit(share) {
  const tenths = Math.abs(1000 * share);
  const whole = Math.floor(tenths);
  const rest = tenths - whole;
  const text = ((whole + (rest > 0.5 || (rest === 0.5 && whole % 2) ? 1 : 0)) / 10).toFixed(1);
  return share < 0 && Number(text) ? `\u2212${text}` : text;
}
function numberCell(text, value) {
  const cell = make("td", text, { className: "number" });
  cell.dataset.value = value;
  return cell;
}
function showClasses() {
  const { names, counts, accuracies, labels, extremes } = data.classes;
  const [first, second] = ["first", "second"].map((id) => document.getElementById(id).value);
  const [a, b] = [accuracies[first], accuracies[second]];
  const table = document.getElementById("all-classes");
  table.querySelector("thead .first").textContent = labels[first];
  table.querySelector("thead .second").textContent = labels[second];
  const rows = names.map((name, k) => {
    const row = document.createElement("tr");
    row.append(
      make("th", name, { scope: "row" }),
      numberCell(counts[k].toLocaleString("en"), counts[k]),
      numberCell(`${oneDigit(a[k])}\u00a0%`, a[k]),
      numberCell(`${oneDigit(b[k])}\u00a0%`, b[k]),
      numberCell(oneDigit(a[k] - b[k]), a[k] - b[k]),
    );
    return row;
  });
  const order = names.map((_, k) => k).sort((i, j) => b[i] - a[i] - (b[j] - a[j]));
  table.tBodies[0].replaceChildren(...order.map((k) => rows[k]));
  sortTable(table);
  const item = (k) => {
    const line = document.createElement("li");
    line.append(
      make("span", names[k], { className: "name" }),
      make("span", `${a[k] > b[k] ? "+" : ""}${oneDigit(a[k] - b[k])} points`, { className: "gap" }),
      make("small", `${oneDigit(b[k])} to ${oneDigit(a[k])}\u00a0%, ${counts[k].toLocaleString("en")} images`),
    );
    return line;
  };
  const gains = order.slice(0, extremes).filter((k) => a[k] > b[k]);
  const losses = order.slice().reverse().slice(0, extremes).filter((k) => a[k] < b[k]);
  document.getElementById("gains").replaceChildren(...gains.map(item));
  document.getElementById("losses").replaceChildren(...losses.map(item));
}
for (const select of all(".choices select")) select.addEventListener("change", showClasses);

// Curves: one epoch for all three panels, set with the slider or by pointing.
const slider = document.getElementById("epoch");
function showEpoch() {
  const epoch = Number(slider.value);
  document.querySelector(".slider output").textContent = epoch;
  all("#values tbody tr").forEach((row, k) => {
    data.curves.forEach((panel, p) => { row.cells[p + 1].textContent = panel.values[k][epoch - 1].replace(" %", "\u00a0%"); });
  });
  for (const panel of all("svg.curves")) {
    const { left, right, epochs } = panel.dataset;
    // The cursor is drawn at the last epoch.
    const cursor = panel.querySelector(".cursor");
    cursor.setAttribute("transform", `translate(${((epoch - epochs) / (epochs - 1)) * (right - left)})`);
    cursor.style.visibility = "visible";
  }
}
if (slider) {
  slider.addEventListener("input", showEpoch);
  for (const panel of all("svg.curves")) {
    panel.addEventListener("pointermove", (event) => {
      const { left, right, epochs } = panel.dataset;
      const box = panel.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * panel.viewBox.baseVal.width;
      const epoch = Math.round(1 + ((x - left) / (right - left)) * (epochs - 1));
      slider.value = Math.min(Number(slider.max), Math.max(1, epoch));
      showEpoch();
    });
  }
}

// A name in the table of curves picks out its line and its point.
for (const button of all(".pick")) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    for (const other of all(".pick")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(on));
    document.body.classList.toggle("picked", on);
    for (const line of all(".series")) line.classList.toggle("on", on && line.dataset.series === button.dataset.series);
  });
}
