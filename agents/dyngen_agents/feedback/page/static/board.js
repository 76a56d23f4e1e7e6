// The board: how ratings went, and what was learned when.
import { ask, attempt, begin, byId, make, signed, tell } from "./common.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [640, 220, 34, 26, 10];
const WINDOW = 10;  // ratings of which the line is the mean

function svg(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const clock = (seconds) => new Date(1000 * seconds).toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" });

/** Each rating as a dot, the mean of the latest ten as a line, and where a version was learned. */
function plot(ratings, versions) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img" });
  const means = ratings.map((_, i) => {
    const some = ratings.slice(Math.max(0, i + 1 - WINDOW), i + 1);
    return some.reduce((sum, [, value]) => sum + value, 0) / some.length;
  });
  const x = (i) => LEFT + (WIDTH - LEFT - 8) * (ratings.length > 1 ? i / (ratings.length - 1) : 0.5);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (4 - value) / 8;
  picture.setAttribute("aria-label", ratings.length
    ? `${ratings.length} ratings; the mean of the last ${Math.min(WINDOW, ratings.length)} is ${signed(means.at(-1), 2)}`
    : "no ratings yet");
  for (const value of [-4, -2, 0, 2, 4]) {
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - 8, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, signed(value)));
  }
  for (const { when, name } of versions.slice(1)) {
    const place = ratings.filter(([at]) => at <= when).length - 0.5;
    if (place < 0) continue;
    const line = svg("line", { class: "update", x1: x(place), x2: x(place), y1: TOP, y2: HEIGHT - BOTTOM });
    line.append(svg("title", {}, `${name}, ${clock(when)}`));
    picture.append(line);
  }
  ratings.forEach(([, value], i) => picture.append(svg("circle", { class: "dot", cx: x(i), cy: y(value), r: 3 })));
  if (means.length) picture.append(svg("polyline", { class: "line", points: means.map((m, i) => `${x(i)},${y(m)}`).join(" ") }));
  picture.append(svg("text", { x: LEFT, y: HEIGHT - 6 },
    ratings.length ? `${clock(ratings[0][0])} to ${clock(ratings.at(-1)[0])}; the line is the mean of ${WINDOW}` : "no ratings yet"));
  return picture;
}

function table(learner) {
  const head = make("tr");
  for (const title of ["Version", "Learned", "From turns", "Their mean rating", "KL from the first, nats a token"]) {
    head.append(make("th", "", title));
  }
  const rows = learner.versions.toReversed().map((version) => {
    const row = make("tr");
    const now = version.name === learner.current;
    if (now) row.setAttribute("aria-current", "true");
    row.append(make("td", "", now ? `${version.name}, in use` : version.name), make("td", "", clock(version.when)),
      make("td", "", String(version.turns)),
      make("td", "", version.mean_rating === null ? "–" : signed(version.mean_rating, 2)),
      make("td", "", version.kl.toFixed(3)));
    return row;
  });
  byId("table").replaceChildren(head, ...rows);
}

async function show() {
  const board = await ask("/api/board");
  const current = board.learner?.versions.find(({ name }) => name === board.learner.current);
  const facts = {
    "mean rating": board.mean_rating === null ? "–" : signed(board.mean_rating, 2),
    ratings: board.rated,
    people: board.people,
    "waiting to be rated": board.waiting,
    ...(current ? { "version in use": current.name, "KL from the first": current.kl.toFixed(3) } : {}),
  };
  byId("numbers").replaceChildren(...Object.entries(facts).map(([name, value]) => {
    const box = make("div");
    box.append(make("dt", "", name), make("dd", "", String(value)));
    return box;
  }));
  byId("plot").replaceChildren(plot(board.ratings, board.learner?.versions ?? []));
  byId("versions").hidden = !board.learner;
  if (board.learner) table(board.learner);
  if (board.learner?.problem) tell(`The last update failed: ${board.learner.problem}`);
}

for (const how of ["undo", "reset"]) {
  byId(how).addEventListener("click", () => attempt(async () => {
    const { current } = await ask(`/api/versions/${how}`, {});
    tell(`The next answer is written by ${current}.`);
    await show();
  }));
}

await attempt(async () => {
  await begin();
  await show();
  setInterval(() => document.visibilityState === "visible" && show().catch(() => {}), 5000);
});
