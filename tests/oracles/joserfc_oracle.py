"""joserfc's verdicts: reads cases as lines of JSON, and writes a verdict for each."""

import json
import sys
import warnings

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
              "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]

# RFC 7515, 4: headers that are not understood must be ignored
REGISTRY = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)


def verify(case):
    keys = KeySet.import_key_set(case["key_set"])
    token = jwt.decode(case["token"], keys, registry=REGISTRY)
    claims = jwt.JWTClaimsRegistry(
        now=case["now"],
        leeway=case["leeway"],
        iss={"essential": True, "value": case["issuer"]},
        aud={"essential": True, "value": case["audience"]},
        exp={"essential": True},
    )
    claims.validate(token.claims)


# EdDSA has a new name, and keys beside the one that counts may be short
warnings.simplefilter("ignore")
for line in sys.stdin:
    case = json.loads(line)
    verdict = {"name": case["name"], "verdict": "accepted"}
    try:
        verify(case)
    except Exception as error:
        verdict["verdict"] = "refused"
        verdict["error"] = f"{type(error).__name__}: {error}"
        verdict["foreseen"] = isinstance(error, JoseError)
    print(json.dumps(verdict))
