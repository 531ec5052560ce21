// The keys: what the issuer publishes and what the verifier has, asked for every two seconds.

import { byId, element, fromNow, icon, rows, sentence, setText, span } from "./elements.js";
import { ask } from "./exchange.js";

const EVERY_MS = 2000;

const DONE = {
  rotate: "New tokens are signed by a new key. The verifier learns of it when it next fetches.",
  drop_old_keys: "The issuer publishes its newest key only. The verifier has the old ones until it next fetches.",
  stop: "The issuer refuses connections. The verifier goes on with the keys that it has.",
  restart: "The issuer answers again.",
  fetch: "The verifier has fetched the keys.",
};

let shownKeys = "";
let shownAt = null;

export function watchKeys(onFirst) {
  let first = onFirst;
  let isAsking = false;
  const poll = async () => {
    // nobody looks, or the last question is open
    if (document.hidden || isAsking) return;
    isAsking = true;
    try {
      const status = await ask("/api/status");
      show(status);
      first?.(status);
      first = null;
    } catch (error) {
      showNotLive(error.message);
    }
    isAsking = false;
  };
  document.addEventListener("visibilitychange", poll);
  for (const button of document.querySelectorAll("[data-change]")) {
    button.addEventListener("click", () => change(button.dataset.change, poll));
  }
  setInterval(poll, EVERY_MS);
  poll();
}

async function change(wanted, poll) {
  byId("said").textContent = "";
  try {
    show(await ask("/api/issuer", { change: wanted }));
    byId("said").textContent = DONE[wanted];
  } catch (error) {
    byId("said").textContent = `That did not work: ${error.message}.`;
    poll();
  }
}

function pill(id, finding, text) {
  const node = byId(id);
  if (node.dataset.finding === finding && node.textContent === text) return;
  node.dataset.finding = finding;
  node.replaceChildren(icon(finding), text);
}

const counted = (count, word) => `${count} ${count === 1 ? word : `${word}s`}`;

const STATES = { fresh: "fresh: within their lifetime", stale: "stale: past their lifetime, and in use still" };

const OF_STATE = { fresh: "ok", stale: "undecided", unavailable: "refused" };

function showNotLive(why) {
  pill("strip-issuer", "undecided", why);
  pill("strip-cache", "none", "keys not known");
  const since = shownAt === null ? "" : ` The keys below are as they were at ${shownAt}.`;
  setText(byId("live"), `${sentence(why)}${since}`);
}

function show({ now, issuer, cache }) {
  shownAt = new Date().toLocaleTimeString();
  setText(byId("live"), "");
  pill("strip-issuer", issuer.is_up ? "ok" : "refused", issuer.is_up ? "issuer up" : "issuer down");
  const power = byId("power");
  power.dataset.change = issuer.is_up ? "stop" : "restart";
  setText(power, issuer.is_up ? "Stop the issuer" : "Start the issuer");
  if (!cache) return;
  const isUsed = cache.state !== "unavailable";
  const isTooOld = !isUsed && cache.keys.length > 0;
  pill("strip-cache", OF_STATE[cache.state],
    isTooOld ? "keys too old" : `${cache.state}, ${counted(cache.keys.length, "key")}`);
  showKeys(issuer.keys, cache.keys, isUsed);
  showFacts(issuer, cache, now);
}

function showKeys(published, cached, isUsed) {
  const seen = JSON.stringify([published, cached, isUsed]);
  if (seen === shownKeys) return;
  shownKeys = seen;
  const kids = [...new Set([...published, ...cached].map((key) => key.kid ?? ""))];
  const place = (has, text) =>
    element("span", { class: "place", "data-finding": has ? "ok" : "none" }, icon(has ? "ok" : "none"), text);
  const item = (kid) => {
    const theirs = published.find((key) => key.kid === kid);
    const ours = cached.find((key) => (key.kid ?? "") === kid);
    const algorithm = theirs?.algorithm ?? ours?.algorithms.join(", ");
    return element("li", { "data-kid": kid },
      element("code", { text: kid || "no kid" }), element("small", { text: algorithm }),
      place(theirs, theirs ? (theirs.signs ? "published, signs" : "published") : "not published"),
      place(ours && isUsed, ours ? (isUsed ? "verifier has it" : "verifier has it, too old") : "verifier has it not"));
  };
  byId("kids").replaceChildren(...kids.map(item));
}

function showFacts(issuer, cache, now) {
  const ago = (time) => (time === null ? "never" : fromNow(time, now));
  const facts = [
    ["State", STATES[cache.state] ?? (cache.keys.length > 0 ? "unavailable: they are too old to check tokens with" : "unavailable: no keys to check tokens with")],
    ["Fetched", ago(cache.last_success)],
    ["Next fetch", cache.next_fetch_in === null ? "not planned" : `in ${span(cache.next_fetch_in)}`],
    ["Fetches", `${cache.fetches}, of which ${cache.failures} failed`],
    ["Last failure", cache.last_error ? `${ago(cache.last_error.at)}: ${cache.last_error.error}` : "none"],
    ["Last token accepted", ago(cache.last_seen)],
    ["Issuer", issuer.url],
  ];
  const list = byId("facts");
  if (list.children.length !== facts.length) {
    list.replaceChildren(...rows(facts.map(([term, text]) => [[term], text])));
  }
  facts.forEach(([, text], index) => setText(list.children[index].lastChild, text));
}
