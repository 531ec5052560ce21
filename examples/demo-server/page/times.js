// The times of a token as a line, and in words beneath.

import { byId, element, fromNow, rows, span } from "./elements.js";

const MARKS = [
  ["issued_at", "issued", "iat"],
  ["not_before", "good from", "nbf"],
  ["warn_after", "to be replaced", "warnafter"],
  ["expires_at", "expires", "exp"],
  ["checked_at", "now", ""],
];

export function showTimes(times) {
  byId("times").hidden = times === null;
  if (times === null) return;
  const marks = MARKS.filter(([name]) => times[name] !== null);
  drawLine(times, marks);
  const legend = marks.map(([name, word, claim]) => [
    [mark(name), word, ...(claim ? [element("small", { text: ` ${claim}` })] : [])],
    new Date(times[name] * 1000).toLocaleString(),
    name === "checked_at" ? "" : fromNow(times[name], times.checked_at),
  ]);
  legend.push([
    [element("span", { class: "mark leeway" }), "leeway"],
    "for clocks that differ",
    `± ${span(times.leeway)}`,
  ]);
  byId("legend").replaceChildren(...rows(legend));
}

const mark = (name) => element("span", { class: `mark ${name}` });

function drawLine(times, marks) {
  const begins = Math.max(times.not_before ?? 0, times.issued_at ?? 0);
  const begin = begins > 0 ? begins : Math.min(times.checked_at, times.expires_at);
  const { leeway, expires_at: end } = times;
  const at = placed([...marks.map(([name]) => times[name]), begin, begin - leeway, end + leeway]);
  const stretch = (kind, from, to) => {
    const drawn = element("span", { class: `stretch ${kind}` });
    drawn.style.setProperty("left", `${at(from)}%`);
    drawn.style.setProperty("width", `${Math.max(0, at(to) - at(from))}%`);
    return drawn;
  };
  const points = marks.map(([name]) => {
    const drawn = mark(name);
    drawn.style.setProperty("left", `${at(times[name])}%`);
    return drawn;
  });
  const now = element("span", { class: "now-word", text: "now" });
  now.style.setProperty("left", `${at(times.checked_at)}%`);
  byId("line").replaceChildren(
    element("span", { class: "track" }),
    ...(begins > 0 ? [stretch("leeway", begin - leeway, begin)] : []),
    ...(end > begin ? [stretch("good", begin, end)] : []),
    stretch("leeway", end, end + leeway),
    ...points,
    now,
  );
}

// Where each time is on the line, in percent. A minute of leeway beside a year could not be seen, so
// that no span is drawn shorter than this share.
const LEAST = 0.06;

function placed(times) {
  const points = [...new Set(times)].sort((one, other) => one - other);
  const spans = points.slice(1).map((point, index) => point - points[index]);
  const whole = Math.max(1, points.at(-1) - points[0]);
  // a second that passes between minting and explaining is none
  const shares = spans.map((length) => (length <= 2 ? 0 : Math.max(LEAST, length / whole)));
  const sum = shares.reduce((one, other) => one + other, 0) || 1;
  const places = new Map([[points[0], 3]]);
  shares.forEach((share, index) => {
    places.set(points[index + 1], places.get(points[index]) + (94 * share) / sum);
  });
  return (time) => places.get(time);
}
