// The verdicts of go-jose: reads cases as lines of JSON, and writes a verdict for each.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

type testCase struct {
	Name     string          `json:"name"`
	Token    string          `json:"token"`
	KeySet   json.RawMessage `json:"key_set"`
	Issuer   string          `json:"issuer"`
	Audience string          `json:"audience"`
	Leeway   int64           `json:"leeway"`
	Now      int64           `json:"now"`
}

type verdict struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Error   string `json:"error,omitempty"`
}

// verify tries each key of the token's kid, or each key without one, as kube-apiserver and go-oidc do.
func verify(c testCase) error {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(c.KeySet, &set); err != nil {
		return err
	}
	token, err := jwt.ParseSigned(c.Token, algorithms)
	if err != nil {
		return err
	}
	kid := token.Headers[0].KeyID
	err = errors.New("no key of the token's kid")
	for _, key := range set.Keys {
		if kid != "" && key.KeyID != kid {
			continue
		}
		var claims jwt.Claims
		if err = token.Claims(key, &claims); err != nil {
			continue
		}
		if claims.Expiry == nil {
			return errors.New("no exp")
		}
		now, leeway := time.Unix(c.Now, 0), time.Duration(c.Leeway)*time.Second
		// RFC 7519, 4.1.4: on or after exp, and not only after it
		if !now.Before(claims.Expiry.Time().Add(leeway)) {
			return jwt.ErrExpired
		}
		return claims.ValidateWithLeeway(jwt.Expected{
			Issuer:      c.Issuer,
			AnyAudience: jwt.Audience{c.Audience},
			Time:        now,
		}, leeway)
	}
	return err
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	output := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var c testCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			panic(err)
		}
		v := verdict{Name: c.Name, Verdict: "accepted"}
		if err := verify(c); err != nil {
			v.Verdict, v.Error = "refused", err.Error()
		}
		if err := output.Encode(v); err != nil {
			panic(err)
		}
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
}
