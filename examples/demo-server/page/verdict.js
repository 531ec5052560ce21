// What the verifier decided: the verdict, each check, and what stands in the token.

import { byId, element, icon, rows, sentence, visible } from "./elements.js";
import { showTimes } from "./times.js";

const CHECKS = {
  format: "Three parts, a header, an algorithm that is allowed",
  issuer: "Whose token it says it is",
  key: "The issuer's key that it names",
  signature: "Whether that key signed it",
  expiry: "Whether it has ended",
  nbf: "Whether it has begun",
  lifetime: "For how long it is good",
  audience: "Whom it is for",
  denylist: "Whether an operator took it back",
  claims: "Which workload it speaks of",
};

const WORDS = { ok: "passed", refused: "refused", undecided: "undecided", none: "not run" };

// As long as a token may be; the server says so of a longer one, and here it is not taken apart.
const MAX_TOKEN_BYTES = 16 * 1024;

export function showNothing() {
  setVerdict("none", "No token yet", "Mint one, or paste one: these checks are made, in this order.");
  const steps = Object.keys(CHECKS).map((check) => ({ check, finding: "none", found: "" }));
  byId("steps").replaceChildren(...steps.map((step) => stepRow(step, false)));
  showTimes(null);
  byId("content").hidden = true;
}

export function showProblem(text) {
  showNothing();
  setVerdict("undecided", "Not explained", text);
}

export function showExplanation(token, { verdict, steps, times }) {
  if (verdict.accepted) {
    const isLate = times?.warn_after !== null && times?.warn_after <= times?.checked_at;
    setVerdict("ok", "Accepted", isLate
      ? "It should have been replaced, though: its caller does not read its token file again."
      : "Every check passed, so the handler knows who is calling.");
  } else if (verdict.undecided) {
    setVerdict("undecided", "Undecided: keys_unavailable",
      "The keys are not here. A request with it would wait while the verifier fetches them.");
  } else {
    const told = steps.find((step) => step.reason === verdict.reason)?.found ?? verdict.advice;
    // of a request, unlike of this page
    const more = verdict.reason === "unknown_key" ? ". A request with it would let the verifier look for new keys first" : "";
    setVerdict("refused", `Refused: ${verdict.reason}`, `${told}${more}`);
  }
  // without a key there is nothing to do about the signature, and the key has its own advice
  const isTold = (step) => step.finding !== "undecided" || verdict.undecided;
  byId("steps").replaceChildren(...steps.map((step) => stepRow(step, isTold(step))));
  showTimes(times);
  showContent(token, steps);
}

function setVerdict(finding, title, text) {
  const verdict = byId("verdict");
  verdict.dataset.finding = finding;
  verdict.replaceChildren(
    icon(finding),
    element("div", {}, element("p", { class: "title", text: title }), element("p", { text: sentence(text) })),
  );
}

function stepRow({ check, finding, found, advice }, isAdviceTold) {
  const name = element("p", { class: "name" }, element("strong", { text: check }),
    element("span", { class: "word", text: WORDS[finding] ?? finding }));
  const body = element("div", {}, name, element("p", { class: "what", text: CHECKS[check] ?? "" }));
  if (found) body.append(element("p", { class: "found", text: found }));
  if (advice && isAdviceTold) body.append(element("p", { class: "advice", text: sentence(advice) }));
  return element("li", { "data-finding": finding }, icon(finding), body);
}

function showContent(token, steps) {
  const [header, claims] = token.length <= MAX_TOKEN_BYTES ? token.split(".").map(decode) : [];
  byId("content").hidden = !header || !claims;
  if (!header || !claims) return;
  const isSigned = steps.some((step) => step.check === "signature" && step.finding === "ok");
  byId("belief").dataset.finding = isSigned ? "ok" : "undecided";
  byId("belief").replaceChildren(
    icon(isSigned ? "ok" : "undecided"),
    isSigned ? "Its issuer signed this." : "Nobody vouches for this: its signature was not good, or not checked.",
  );
  byId("bound").replaceChildren(...rows(boundTo(claims).map(([term, text]) => [[term], visible(text)])));
  byId("header-text").textContent = indented(header);
  byId("claims-text").textContent = indented(claims);
}

// The text of a part, or "" if it is none.
function decode(part) {
  try {
    const bytes = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
    return new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
  } catch {
    return "";
  }
}

function boundTo(text) {
  let claims;
  try {
    claims = JSON.parse(text);
  } catch {
    return [];
  }
  const kubernetes = claims?.["kubernetes.io"];
  const named = (object) => {
    if (typeof object?.name !== "string") return null;
    return typeof object.uid === "string" ? `${object.name} (uid ${object.uid})` : object.name;
  };
  const namespace = kubernetes?.namespace;
  return [
    ["Namespace", typeof namespace === "string" ? namespace : null],
    ["Service account", named(kubernetes?.serviceaccount)],
    ["Bound to pod", named(kubernetes?.pod)],
    ["On node", named(kubernetes?.node)],
    ["Bound to secret", named(kubernetes?.secret)],
  ].filter(([, shown]) => shown !== null);
}

// Breaks JSON into lines as it stands, well formed or not, and however deep it is: nothing of it
// is lost, as a second member of one name would be in an object.
function indented(text) {
  const line = (depth) => `\n${"  ".repeat(Math.min(depth, 12))}`;
  let [shown, depth, inText] = ["", 0, false];
  for (let at = 0; at < text.length; at += 1) {
    const c = text[at];
    if (inText) {
      shown += c === "\\" ? c + (text[++at] ?? "") : c;
      inText = c !== '"';
    } else if (c === "{" || c === "[") shown += c + line(++depth);
    else if (c === "}" || c === "]") shown += line(--depth < 0 ? (depth = 0) : depth) + c;
    else if (c === ",") shown += c + line(depth);
    else if (c === ":") shown += ": ";
    else if (c.trim() !== "") {
      shown += c;
      inText = c === '"';
    }
  }
  return shown.split("\n").map(visible).join("\n");
}
