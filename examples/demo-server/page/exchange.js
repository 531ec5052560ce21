// What the page asks its server. A token travels in the body of a request only.

export async function ask(path, body) {
  let response;
  try {
    // not mode "same-origin": with no-referrer, a browser may then send "null" as its Origin
    response = await fetch(path, body === undefined ? {} : {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("the demo server does not answer");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `the server answered ${response.status}`);
  return answer;
}
