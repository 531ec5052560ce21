"""PyJWT's verdicts: reads cases as lines of JSON, and writes a verdict for each."""

import datetime
import json
import sys
import warnings

import jwt
import jwt.api_jwt

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
              "ES256", "ES384", "ES512", "EdDSA"]


class Clock(datetime.datetime):
    """PyJWT takes the time from nowhere else."""

    seconds = 0

    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(cls.seconds, tz)


jwt.api_jwt.datetime = Clock


class Keys(jwt.PyJWKClient):
    """The keys of a case, where others are fetched."""

    def __init__(self, key_set):
        super().__init__("https://unused.example", cache_jwk_set=False)
        self.key_set = key_set

    def fetch_data(self):
        return self.key_set


def verify(case):
    Clock.seconds = case["now"]
    key = Keys(case["key_set"]).get_signing_key_from_jwt(case["token"])
    jwt.decode(
        case["token"],
        key,
        algorithms=ALGORITHMS,
        issuer=case["issuer"],
        audience=case["audience"],
        leeway=case["leeway"],
        options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
    )


# keys beside the one that counts may be short
warnings.simplefilter("ignore")
for line in sys.stdin:
    case = json.loads(line)
    verdict = {"name": case["name"], "verdict": "accepted"}
    try:
        verify(case)
    except Exception as error:
        verdict["verdict"] = "refused"
        verdict["error"] = f"{type(error).__name__}: {error}"
        verdict["foreseen"] = isinstance(error, jwt.PyJWTError)
    print(json.dumps(verdict))
