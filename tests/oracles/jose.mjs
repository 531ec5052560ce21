// The verdicts of jose: reads cases as lines of JSON, and writes a verdict for each.

import { createInterface } from "node:readline";
import { createLocalJWKSet, errors, jwtVerify } from "jose";

const algorithms = [
  "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
  "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
];

async function verify({ token, key_set, issuer, audience, leeway, now }) {
  const options = {
    algorithms,
    issuer,
    audience,
    clockTolerance: leeway,
    currentDate: new Date(now * 1000),
    requiredClaims: ["exp"],
  };
  try {
    await jwtVerify(token, createLocalJWKSet(key_set), options);
  } catch (error) {
    if (error?.code !== "ERR_JWKS_MULTIPLE_MATCHING_KEYS") throw error;
    // as its documentation has it for several keys of one name
    for await (const key of error) {
      try {
        return void await jwtVerify(token, key, options);
      } catch (inner) {
        if (inner?.code !== "ERR_JWS_SIGNATURE_VERIFICATION_FAILED") throw inner;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const parsed = JSON.parse(line);
  const verdict = { name: parsed.name, verdict: "accepted" };
  try {
    await verify(parsed);
  } catch (error) {
    verdict.verdict = "refused";
    verdict.error = `${error.name}: ${error.message}`;
    verdict.foreseen = error instanceof errors.JOSEError;
  }
  console.log(JSON.stringify(verdict));
}
