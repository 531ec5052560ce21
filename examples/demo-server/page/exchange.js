// What the page asks its server. A token travels in the body of a request only.

// How long a server may take that is there. It gives a request up itself, by default after 30 s.
const READ_MS = 4000;
const CHANGE_MS = 35000;

export async function ask(path, body) {
  let response;
  try {
    // not mode "same-origin": with no-referrer, a browser may then send "null" as its Origin
    response = await fetch(path, body === undefined ? { signal: AbortSignal.timeout(READ_MS) } : {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(CHANGE_MS),
    });
  } catch {
    throw new Error("the demo server does not answer");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Error(answer?.error ?? `the server answered ${response.status}`);
  if (answer === null) throw new Error("the answer of the demo server broke off");
  return answer;
}
