// Elements are made here and nowhere else. Whatever a token holds becomes text, never markup.

export const byId = (id) => document.getElementById(id);

export function element(name, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

// A state has a shape and a word beside its colour.
const SHAPES = {
  ok: "M5 10.5l3.5 3.5L15 6.5",
  refused: "M6 6l8 8M14 6l-8 8",
  undecided: "M7 7.5a3 3 0 1 1 4.2 2.7c-.8.4-1.2 1-1.2 1.8M10 14.8v.2",
  none: "M7 10h6",
};

export function icon(finding) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", SHAPES[finding] ?? SHAPES.none);
  svg.append(path);
  return svg;
}

// Rows of a description list.
export const rows = (entries) =>
  entries.map(([term, ...values]) =>
    element("div", {}, element("dt", {}, ...term), ...values.map((text) => element("dd", { text }))),
  );

// What shows as nothing, or turns its neighbours around, is written out: a name that somebody chose
// is read as it stands.
export const visible = (text) =>
  text.replace(/(?! )[\p{C}\p{Z}\p{DI}\u2800]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

// What the verifier says, as a sentence. One that begins with a name or a value leaves it as it is.
export function sentence(text) {
  const whole = /[.?]$/.test(text) ? text : `${text}.`;
  return /^[a-z]+ (?!")/.test(whole) ? whole[0].toUpperCase() + whole.slice(1) : whole;
}

// A screen reader and the eye are told of changes only.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24];
  const minutes = Math.floor(whole / 60) % 60;
  if (days > 0) return hours > 0 ? `${days} d ${hours} h` : `${days} d`;
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`;
  if (minutes === 0) return `${whole} s`;
  return whole % 60 > 0 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
}

export function fromNow(time, now) {
  if (time === now) return "now";
  return time > now ? `in ${span(time - now)}` : `${span(now - time)} ago`;
}
