// The two forms: both end in an explanation.

import { byId } from "./elements.js";
import { ask } from "./exchange.js";
import { watchKeys } from "./keys.js";
import { showExplanation, showNothing, showProblem } from "./verdict.js";

// As much as the server reads.
const MAX_BYTES = 1024 * 1024;

// An answer that comes after the next question is not shown.
let asked = 0;

async function explain(prepare) {
  const mine = ++asked;
  byId("result").setAttribute("aria-busy", "true");
  try {
    const token = await prepare();
    const answer = await ask("/api/explain", { token });
    if (mine === asked) showExplanation(token, answer);
  } catch (error) {
    if (mine === asked) showProblem(error.message);
  }
  if (mine !== asked) return;
  byId("result").removeAttribute("aria-busy");
  // beneath the form on a narrow screen
  const { top, bottom } = byId("verdict").getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) byId("result").scrollIntoView();
}

// Whom a token should be for stands in the form as soon as the server has said it.
let isFilled = false;

function fill({ audience }) {
  if (!isFilled) byId("audience").value ||= audience;
  isFilled = true;
}

async function minted() {
  if (!isFilled) fill(await ask("/api/status"));
  const wanted = Object.fromEntries(new FormData(byId("mint-form")));
  wanted.lifetime_seconds = Number(wanted.lifetime_seconds);
  const { token } = await ask("/api/mint", wanted);
  byId("token").value = token;
  return token;
}

function pasted() {
  // what a terminal or an editor puts around it is not of the token
  const token = byId("token").value.trim();
  if (token.length > MAX_BYTES - 64) {
    throw new Error(`it is too long: it has ${token.length.toLocaleString()} characters, and a token has 1,000 to 8,000`);
  }
  return token;
}

function onSubmit(form, prepare) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    explain(async () => prepare());
  });
}

onSubmit("mint-form", minted);
onSubmit("explain-form", pasted);
byId("token").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("explain-form").requestSubmit();
});

showNothing();
watchKeys(fill);
