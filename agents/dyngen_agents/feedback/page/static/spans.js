// Marked parts of a text. Positions are in characters (Unicode code points), as the server counts them, while the
// browser counts in units of UTF-16, and a text field in units of the text with line ends made alike.

/** Positions of a selection in a text field, as characters of the text that was put into it. */
export function points(text, start, end) {
  const at = (unit) => {
    let seen = 0, count = 0;
    for (let i = 0; i < text.length && seen < unit; count += 1) {
      const two = text.codePointAt(i) > 0xffff ? 2 : text[i] === "\r" && text[i + 1] === "\n" ? 2 : 1;
      seen += text[i] === "\r" ? 1 : two;
      if (text[i] === "\r" && two === 2) count += 1;
      i += two;
    }
    return count;
  };
  return [at(start), at(end)];
}

/**
 * A text as nodes, in which marked parts stand in <mark>. Of parts that overlap the later one is seen.
 * Models often begin with a space, which is part of the text and need not be seen: `trimmed` leaves it out.
 */
export function prepared(text, spans, trimmed = false) {
  const characters = [...text], kinds = characters.map(() => null), nodes = [];
  for (const { start, end, good } of spans) kinds.fill(good, start, end);
  const begin = trimmed ? Math.max(0, characters.findIndex((c) => c.trim())) : 0;
  for (let from = begin; from < characters.length;) {
    let to = from + 1;
    while (to < characters.length && kinds[to] === kinds[from]) to += 1;
    const part = characters.slice(from, to).join("");
    if (kinds[from] === null) nodes.push(document.createTextNode(part));
    else {
      const mark = document.createElement("mark");
      mark.className = kinds[from] ? "good" : "bad";
      mark.title = kinds[from] ? "You marked this as good" : "You marked this as bad";
      mark.textContent = part;
      nodes.push(mark);
    }
    from = to;
  }
  return nodes;
}
