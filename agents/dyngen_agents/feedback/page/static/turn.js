// One turn of a dialogue: its text, and what one can say about it.
import { ask, attempt, button, make, newKey, signed, tell } from "./common.js";
import { points, prepared } from "./spans.js";

const RESTED = 600;  // milliseconds after which a slider counts as set

/** Keep what somebody thinks of turns. */
export const say = (kind, turns, value) => ask("/api/feedback", { kind, turns, value, key: newKey() });

/**
 * A turn as an element.
 *
 * chat: what the chat knows and does: learns, whether versions are told; again(wish), writes the last answer anew, null
 * where this is not the last one; why(turn), shows the token map.
 */
export function drawn(turn, chat) {
  const article = make("article", `turn ${turn.role}`), text = make("div", "text");
  article.dataset.turn = turn.id;
  article.setAttribute("aria-label", turn.role === "user" ? "You" : "The model");
  text.dir = "auto";
  text.append(...prepared(turn.correction ?? turn.text, turn.correction === null ? turn.spans : [], turn.role === "agent"));
  article.append(text);
  if (turn.role === "agent") {
    article.append(about(turn, chat), tools(turn, article, chat));
  }
  return article;
}

function about(turn, chat) {
  const line = make("div", "about muted");
  if (turn.correction !== null) line.append(make("span", "", "as you have edited it"));
  if (turn.drafts > 1) line.append(make("span", "", `draft ${turn.drafts}`));
  if (turn.finish === "length") line.append(make("span", "", "cut off at the longest answer"));
  if (turn.finish === "stopped") line.append(make("span", "", "stopped"));
  if (chat.learns && turn.version) line.append(make("span", "", `by ${turn.version}`));
  return line;
}

function thumb(turn, value, label) {
  const up = button("", () => attempt(async () => {
    await say("thumbs", [turn.id], value);
    turn.thumbs = value;
    for (const other of up.parentElement.querySelectorAll(".thumb")) other.setAttribute("aria-pressed", "false");
    up.setAttribute("aria-pressed", "true");
  }), value > 0 ? "thumb" : "thumb down");
  up.setAttribute("aria-label", label);
  up.setAttribute("aria-pressed", String(turn.thumbs === value));
  up.title = label;
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  picture.setAttribute("viewBox", "0 0 20 20");
  picture.setAttribute("aria-hidden", "true");
  path.setAttribute("d", "M3 9h3v8H3zM6 9l4-7c1.6 0 2.2 1.2 1.9 2.6L11.3 7.5H16c1.2 0 1.9 1 1.6 2.1l-1.7 6C15.6 16.500 15 17 14 17H6");
  picture.append(path);
  up.append(picture);
  return up;
}

function slider(turn) {
  const label = make("label", "rate", "Rating "), range = make("input"), now = make("output");
  let changed = false, timer = 0;
  Object.assign(range, { type: "range", min: -4, max: 4, step: 1, value: turn.rating ?? 0 });
  const told = () => {
    now.textContent = turn.rating === null ? "–" : signed(turn.rating);
    range.setAttribute("aria-valuetext", turn.rating === null ? "not rated" : signed(turn.rating));
  };
  const send = () => {
    const rating = Number(range.value);
    clearTimeout(timer);
    if (rating !== turn.rating && changed) {
      changed = false;
      attempt(async () => {
        await say("rating", [turn.id], rating);
        turn.rating = rating;
        told();
      });
    }
  };
  range.addEventListener("input", () => { now.textContent = signed(Number(range.value)); });
  range.addEventListener("change", () => {  // each press of an arrow key: what is rested on is the rating
    changed = true;
    clearTimeout(timer);
    timer = setTimeout(send, RESTED);
  });
  range.addEventListener("blur", send);
  told();
  label.append(range, now);
  return label;
}

function tools(turn, article, chat) {
  const box = make("div", "tools");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "What you think of this answer");
  box.append(slider(turn), thumb(turn, 1, "Good answer"), thumb(turn, -1, "Bad answer"));
  if (chat.again) {
    box.append(button("Again", () => chat.again("")));
    box.append(button("Again, but …", () => panel(article, "What should be different?", "", "Write it again", chat.again)));
  }
  box.append(button("Edit", () => panel(article, "As it should have been", turn.correction ?? turn.text, "Keep it",
    (text) => attempt(async () => {
      await say("correction", [turn.id], text);
      turn.correction = text;
      article.replaceWith(drawn(turn, chat));
    }))));
  box.append(button("Mark", () => marks(turn, article)));
  box.append(button("Why?", () => chat.why(turn)));
  return box;
}

/** A form below a turn: one text, one action. */
function panel(article, label, text, action, done) {
  article.querySelector(".panel")?.remove();
  const form = make("form", "panel"), caption = make("label", "", label), area = make("textarea");
  area.value = text;
  area.rows = Math.min(10, 2 + text.length / 60);
  area.maxLength = 8000;
  const row = make("div", "row"), go = make("button", "primary", action);
  const close = () => { form.remove(); article.querySelector(".tools button")?.focus(); };
  row.append(go, button("Cancel", close));
  caption.append(area);
  form.append(caption, row);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!area.value.trim()) return area.focus();
    form.remove();
    done(area.value);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && !event.shiftKey && !text) { event.preventDefault(); form.requestSubmit(); }
  });
  article.append(form);
  area.focus();
}

/** Parts of a turn as good or bad: select them, by mouse, finger or keyboard. */
function marks(turn, article) {
  article.querySelector(".panel")?.remove();
  const box = make("div", "panel"), caption = make("label", "", "Select a part, then say what it is"), area = make("textarea");
  area.value = turn.text;
  area.readOnly = true;
  area.rows = Math.min(12, 2 + turn.text.length / 60);
  caption.append(area);
  const row = make("div", "row");
  const mark = (good) => attempt(async () => {
    const [start, end] = points(turn.text, area.selectionStart, area.selectionEnd);
    if (start === end) return tell("Select a part of the text first.");
    const span = { start, end, good };
    await say("span", [turn.id], span);
    turn.spans.push(span);
    article.querySelector(".text").replaceChildren(...prepared(turn.text, turn.spans, true));
    return undefined;
  });
  row.append(button("Good part", () => mark(true)), button("Bad part", () => mark(false)),
    button("Done", () => { box.remove(); article.querySelector(".tools button")?.focus(); }));
  box.append(caption, row);
  box.addEventListener("keydown", (event) => { if (event.key === "Escape") box.remove(); });
  article.append(box);
  area.focus();
  area.setSelectionRange(0, 0);
}
