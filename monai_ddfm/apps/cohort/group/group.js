const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const make = (name, text = "", kind = "") => {
  const made = document.createElement(name);
  if (text !== "") made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
const isNumber = (value) => typeof value === "number";
const shown = (value) => (isNumber(value) ? String(Number(value.toPrecision(4))) : value ?? "");

/* Ratings outlive the page where the browser lets them. */
const place = "monai-ddfm ratings " + location.pathname;
let ratings = {};
try { ratings = JSON.parse(localStorage.getItem(place)) ?? {}; } catch { ratings = {}; }
const rate = (row, rating) => {
  if (rating) ratings[row.case] = rating; else delete ratings[row.case];
  try { localStorage.setItem(place, JSON.stringify(ratings)); } catch { /* not here */ }
  row.cells.rating.textContent = rating ?? "";
  row.cells.rating.className = rating ?? "";
  count();
};

const columns = [
  { name: "case", head: "case", value: (row) => row.case },
  { name: "picture", head: "MRI, moving, fused, weight" },
  { name: "rating", head: "rating", value: (row) => ratings[row.case] ?? "" },
  { name: "status", head: "status", value: (row) => row.status },
  { name: "remarks", head: "warnings", value: (row) => row.remarks.length },
  ...data.figures.map(({ name, head }) => ({ name, head, value: (row) => row.figures[name] })),
];

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    entry.target.src = "data:image/jpeg;base64," + entry.target.row.picture;
    seen.unobserve(entry.target);
  }
}, { rootMargin: "600px" });

const build = (row) => {
  row.remarks = [row.reason, ...row.warnings, ...row.notes].filter(Boolean);
  row.text = [row.case, ...row.remarks].join(" ").toLowerCase();
  row.element = make("tr");
  row.cells = {};
  for (const column of columns) {
    const cell = row.cells[column.name] = make("td");
    cell.dataset.head = column.head; // for windows too narrow for a table
    if (column.name === "picture") {
      cell.className = "picture";
      if (row.picture) {
        const picture = make("img");
        picture.alt = "axial planes of " + row.case;
        picture.row = row;
        seen.observe(picture);
        cell.append(picture);
      }
    } else if (column.name === "case" && row.report) {
      const link = make("a", row.case);
      link.href = row.report.split("/").map(encodeURIComponent).join("/");
      link.target = "_blank";
      cell.append(link);
    } else if (column.name === "remarks") {
      cell.className = "text";
      cell.textContent = row.remarks.join("; ");
    } else {
      cell.textContent = shown(column.value(row));
    }
    if (column.name === "status") cell.className = row.status;
    if (column.name === "rating") cell.className = cell.textContent;
    if (isNumber(column.value?.(row)) && column.name !== "remarks") cell.classList.add("number");
    if (row.outliers.includes(column.name)) cell.classList.add("outlier");
  }
  row.element.append(...Object.values(row.cells));
  row.element.addEventListener("click", () => select(row));
};

/* Sorting and filtering. */
let order = { name: "case", sign: 1 };
let visible = [];
let selected = null;
const compare = (a, b) => {
  const missing = (value) => value === null || value === undefined || value === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const both = isNumber(a) && isNumber(b);
  return order.sign * (both ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
};
const update = () => {
  const words = at("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [status, modality, rated] = ["status", "modality", "rated"].map((id) => at(id).value);
  const value = columns.find((column) => column.name === order.name).value;
  visible = data.rows.filter((row) =>
    words.every((word) => row.text.includes(word))
    && (!status || row.status === status)
    && (!modality || row.modality === modality)
    && (!rated || (ratings[row.case] ?? "none") === rated)
    && (!at("outlying").checked || row.outliers.length > 0 || row.warnings.length > 0
      || row.status !== "done"));
  visible.sort((a, b) => compare(value(a), value(b)) || a.place - b.place);
  at("rows").replaceChildren(...visible.map((row) => row.element));
  for (const head of at("heads").children) {
    const sorted = { 1: "ascending", [-1]: "descending" }[order.sign];
    head.setAttribute("aria-sort", head.dataset.name === order.name ? sorted : "none");
  }
  if (selected && !visible.includes(selected)) select(null);
  count();
};
const count = () => {
  const of = (rating) => Object.values(ratings).filter((one) => one === rating).length;
  const failed = data.rows.filter((row) => row.status !== "done").length;
  at("counts").textContent = `${visible.length} of ${data.rows.length} cases shown; ${failed} failed; `
    + `rated ${of("pass")} pass, ${of("fail")} fail`;
};
const select = (row) => {
  selected?.element.classList.remove("selected");
  selected = row;
  row?.element.classList.add("selected");
  row?.element.scrollIntoView({ block: "center" });
};

/* The distribution of a figure: bars, and a point for each outlier. */
const svg = (name, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const distribution = ({ name, head }) => {
  const rows = data.rows.filter((row) => isNumber(row.figures[name]));
  if (rows.length === 0) return null;
  const values = rows.map((row) => row.figures[name]);
  const low = Math.min(...values), high = Math.max(...values), bins = 40;
  const span = high - low || 1;
  const counts = new Array(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value - low) / span * bins))] += 1;
  const most = Math.max(...counts);
  const picture = svg("svg", { viewBox: "0 0 200 64", role: "img", "aria-label": head });
  const bars = counts.map((n, i) => (n ? `M${i * 5} 50v${-46 * n / most}h4v${46 * n / most}z` : ""));
  picture.append(svg("path", { class: "bars", d: bars.join("") }));
  for (const row of rows.filter((one) => one.outliers.includes(name))) {
    const x = 2 + 196 * (row.figures[name] - low) / span;
    const point = svg("circle", { cx: x, cy: 58, r: 4 });
    const title = svg("title", {});
    title.textContent = `${row.case}: ${shown(row.figures[name])}`;
    point.append(title);
    point.addEventListener("click", () => select(row));
    picture.append(point);
  }
  const caption = make("figcaption");
  caption.append(make("span", head), make("span", `${shown(low)} to ${shown(high)}`, "ends"));
  const figure = make("figure");
  figure.append(caption, picture);
  return figure;
};

/* Keys and the file of ratings. */
const step = (by) => {
  if (visible.length === 0) return;
  const now = visible.indexOf(selected);
  select(visible[now < 0 ? 0 : Math.max(0, Math.min(visible.length - 1, now + by))]);
};
const keys = {
  j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  p: () => selected && rate(selected, "pass"), f: () => selected && rate(selected, "fail"),
  u: () => selected && rate(selected, null), o: () => selected?.cells.case.querySelector("a")?.click(),
};
document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "checkbox";
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
at("download").addEventListener("click", () => {
  const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const lines = data.rows.map((row) => [row.case, row.status, ratings[row.case] ?? ""]);
  const text = [["case", "status", "rating"], ...lines].map((line) => line.map(quoted).join(","));
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([text.join("\n") + "\n"], { type: "text/csv" }));
  link.download = "ratings.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});

/* The page. */
for (const column of columns) {
  const head = make("th");
  head.dataset.name = column.name;
  if (column.value) {
    const button = make("button", column.head);
    button.type = "button";
    button.addEventListener("click", () => {
      order = { name: column.name, sign: order.name === column.name ? -order.sign : 1 };
      update();
    });
    head.append(button);
  } else {
    head.append(column.head);
  }
  at("heads").append(head);
}
data.rows.forEach((row, index) => { row.place = index; build(row); });
for (const id of ["status", "modality"]) {
  for (const value of [...new Set(data.rows.map((row) => row[id]))].sort()) at(id).append(make("option", value));
}
for (const id of ["find", "status", "modality", "rated", "outlying"]) at(id).addEventListener("input", update);
at("distributions").append(...data.figures.map(distribution).filter(Boolean));
if (data.problems.length > 0) {
  at("problems").hidden = false;
  at("problems").querySelector("summary").textContent = `${data.problems.length} could not be fused`;
  at("problems").querySelector("ul").append(
    ...data.problems.map(({ who, sentence }) => make("li", `${who}: ${sentence}`)));
}
update();
