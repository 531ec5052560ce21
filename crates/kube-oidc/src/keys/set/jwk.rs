//! One JSON Web Key ([RFC 7517]), read and judged: what of it can check signatures.
//!
//! [RFC 7517]: https://www.rfc-editor.org/rfc/rfc7517

use std::{borrow::Cow, ops::RangeInclusive};

use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RsaPublicKeyComponents};
use serde::de::MapAccess;

use super::key::{Key, MAX_KID_BYTES, Material};
use crate::{
    algorithm::{Algorithm, Family},
    encoding::{
        base64url,
        json::{self, Members, Nullable, Text, TextOrList, Texts, Value, names},
    },
};

/// RSA modulus lengths that are used, in bits: below is broken, above costs whoever checks.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// RSA public exponents: 65537 is what everybody uses; 3 has a history of forgeries, and a long
/// one makes each check expensive.
const RSA_EXPONENTS: RangeInclusive<u64> = 65_537..=0x1_ffff_ffff;

/// Why one key of a set is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it is not a well-formed JSON Web Key: {0}")]
    Malformed(String),
    #[error("its kid is longer than {MAX_KID_BYTES} bytes")]
    LongKid,
    #[error("it is not for signatures: use or key_ops says otherwise")]
    OtherUse,
    #[error("its type (kty, crv) is not supported")]
    Type,
    #[error("its alg is not a supported signature algorithm of its type")]
    Algorithm,
    #[cfg(feature = "ml-dsa")]
    #[error("it has no alg, which a key of its type (AKP) must have")]
    NoAlgorithm,
    #[error("its alg is not allowed here")]
    AlgorithmNotAllowed,
    #[error("its modulus has {0} bits, not 2048 to 8192")]
    ModulusLength(usize),
    #[error("its modulus is even")]
    EvenModulus,
    #[error("its exponent is even, below 65537, or over 33 bits")]
    Exponent,
    #[error("its point has a small order, so that everybody can sign for it")]
    SmallOrder,
    #[error("missing `{0}`")]
    Missing(&'static str),
    #[error("invalid `{0}`: padded with `=`; expected base64url without padding")]
    Padded(&'static str),
    #[error(
        "invalid `{0}`: a character outside of base64url, such as `+` or `/` of standard base64; \
         expected base64url"
    )]
    Alphabet(&'static str),
    #[error("invalid `{0}`: base64url with bits left over; is it truncated?")]
    LeftOver(&'static str),
    #[error("invalid `{name}`: {found} bytes instead of {expected}; leading zeros are part of it")]
    Length { name: &'static str, found: usize, expected: usize },
    #[error("its numbers are no public key")]
    NoKey,
}

/// The members of a key that count; `x5c`, `x5t`, `x5u` and unknown ones are ignored. A member that
/// is `null` or an empty list is absent: issuers write both for what a key does not say.
#[derive(Default)]
struct Jwk<'a> {
    kty: Option<Cow<'a, str>>,
    kid: Option<Cow<'a, str>>,
    alg: Option<Cow<'a, str>>,
    r#use: Option<Cow<'a, str>>,
    key_ops: Option<Texts<'a>>,
    crv: Option<Cow<'a, str>>,
    n: Option<Cow<'a, str>>,
    e: Option<Cow<'a, str>>,
    x: Option<Cow<'a, str>>,
    y: Option<Cow<'a, str>>,
    #[cfg(feature = "ml-dsa")]
    r#pub: Option<Cow<'a, str>>,
}

names!(JwkName {
    Kty = "kty",
    Kid = "kid",
    Alg = "alg",
    Use = "use",
    KeyOps = "key_ops",
    Crv = "crv",
    N = "n",
    E = "e",
    X = "x",
    Y = "y",
    Pub = "pub",
});

impl<'de> Members<'de> for Jwk<'de> {
    type Name = JwkName;

    fn member<A: MapAccess<'de>>(
        &mut self,
        name: JwkName,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        let slot = match name {
            JwkName::Kty => &mut self.kty,
            JwkName::Kid => &mut self.kid,
            JwkName::Alg => &mut self.alg,
            JwkName::Use => &mut self.r#use,
            JwkName::Crv => &mut self.crv,
            JwkName::N => &mut self.n,
            JwkName::E => &mut self.e,
            JwkName::X => &mut self.x,
            JwkName::Y => &mut self.y,
            #[cfg(feature = "ml-dsa")]
            JwkName::Pub => &mut self.r#pub,
            #[cfg(not(feature = "ml-dsa"))]
            JwkName::Pub => return value.skip(),
            JwkName::KeyOps => {
                let operations = value.seed(Nullable(TextOrList))?;
                self.key_ops = operations.filter(|operations| !operations.is_empty());
                return Ok(());
            }
        };
        *slot = value.seed(Nullable(Text))?;
        Ok(())
    }
}

/// Reads one key. The `kid` comes back with an error too, where there is one, so that a warning
/// can name the key.
pub(super) fn read(text: &str, allowed: &[Algorithm]) -> Result<Key, (Option<String>, Unusable)> {
    let mut jwk = Jwk::default();
    let parsed = json::parse_object(text, &mut jwk);
    // an empty name names nothing, as in the header of a token
    jwk.kid = jwk.kid.filter(|kid| !kid.is_empty());
    if let Err(error) = parsed {
        let kid = jwk.kid.map(Cow::into_owned);
        return Err((kid, Unusable::Malformed(error.words())));
    }
    match jwk.prepare(allowed) {
        Ok((material, prepared)) => {
            Ok(Key::new(jwk.kid.map(|kid| kid.into_owned().into_boxed_str()), material, prepared))
        }
        Err(unusable) => Err((jwk.kid.map(Cow::into_owned), unusable)),
    }
}

type Prepared = Vec<(Algorithm, ParsedPublicKey)>;

impl Jwk<'_> {
    fn prepare(&self, allowed: &[Algorithm]) -> Result<(Material, Prepared), Unusable> {
        if self.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(Unusable::LongKid);
        }
        let other_use = self.r#use.as_ref().is_some_and(|r#use| r#use != "sig");
        let cannot_verify =
            self.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify"));
        if other_use || cannot_verify {
            return Err(Unusable::OtherUse);
        }
        let material = self.material()?;
        let fitting = self.permitted(&material)?;
        let prepared = fitting
            .into_iter()
            .filter(|algorithm| allowed.contains(algorithm))
            .map(|algorithm| Ok((algorithm, prepare(algorithm, &material)?)))
            .collect::<Result<Prepared, Unusable>>()?;
        if prepared.is_empty() {
            return Err(Unusable::AlgorithmNotAllowed);
        }
        Ok((material, prepared))
    }

    fn material(&self) -> Result<Material, Unusable> {
        match (self.kty.as_deref(), self.crv.as_deref()) {
            (Some("RSA"), _) => self.rsa(),
            (Some("EC"), Some(crv)) => self.ec(crv),
            (Some("OKP"), Some("Ed25519")) => self.ed25519(),
            #[cfg(feature = "ml-dsa")]
            (Some("AKP"), _) => self.akp(),
            _ => Err(Unusable::Type),
        }
    }

    fn rsa(&self) -> Result<Material, Unusable> {
        let n = unsigned(parameter(self.n.as_deref(), "n", None)?);
        let e = unsigned(parameter(self.e.as_deref(), "e", None)?);
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(Unusable::ModulusLength(bits));
        }
        if n.last().is_none_or(|last| last % 2 == 0) {
            return Err(Unusable::EvenModulus);
        }
        let exponent = 8_usize
            .checked_sub(e.len())
            .map(|zeros| {
                let mut bytes = [0; 8];
                bytes[zeros..].copy_from_slice(&e);
                u64::from_be_bytes(bytes)
            })
            .filter(|exponent| exponent % 2 == 1 && RSA_EXPONENTS.contains(exponent));
        match exponent {
            Some(_) => Ok(Material::Rsa { n, e }),
            None => Err(Unusable::Exponent),
        }
    }

    fn ec(&self, crv: &str) -> Result<Material, Unusable> {
        let (curve, length) = Algorithm::ALL
            .iter()
            .find_map(|algorithm| match algorithm.family() {
                Family::Ec(_, curve, length) if curve == crv => Some((curve, length)),
                _ => None,
            })
            .ok_or(Unusable::Type)?;
        // SEC 1, 2.3.3: an uncompressed point
        let mut point = vec![4];
        point.extend(parameter(self.x.as_deref(), "x", Some(length))?);
        point.extend(parameter(self.y.as_deref(), "y", Some(length))?);
        Ok(Material::Ec { curve, point })
    }

    fn ed25519(&self) -> Result<Material, Unusable> {
        let x = parameter(self.x.as_deref(), "x", Some(32))?;
        if has_small_order(&x) { Err(Unusable::SmallOrder) } else { Ok(Material::Ed25519(x)) }
    }

    /// An algorithm key pair ([RFC 9964, 3]): its `alg` says what its `pub` is.
    ///
    /// [RFC 9964, 3]: https://www.rfc-editor.org/rfc/rfc9964#section-3
    #[cfg(feature = "ml-dsa")]
    fn akp(&self) -> Result<Material, Unusable> {
        let name = self.alg.as_deref().ok_or(Unusable::NoAlgorithm)?;
        let algorithm = Algorithm::from_name(name).ok_or(Unusable::Algorithm)?;
        let Family::MlDsa(_, length) = algorithm.family() else {
            return Err(Unusable::Algorithm);
        };
        let key = parameter(self.r#pub.as_deref(), "pub", Some(length))?;
        Ok(Material::MlDsa(algorithm, key))
    }

    /// The algorithms of the key's type, or the one of them that its `alg` names.
    fn permitted(&self, material: &Material) -> Result<Vec<Algorithm>, Unusable> {
        let fits = |algorithm: &Algorithm| match (algorithm.family(), material) {
            (Family::Rsa(_), Material::Rsa { .. }) | (Family::Ed25519, Material::Ed25519(_)) => {
                true
            }
            (Family::Ec(_, wanted, _), Material::Ec { curve, .. }) => wanted == *curve,
            #[cfg(feature = "ml-dsa")]
            (Family::MlDsa(..), Material::MlDsa(wanted, _)) => wanted == algorithm,
            _ => false,
        };
        match self.alg.as_deref() {
            None => Ok(Algorithm::ALL.iter().copied().filter(fits).collect()),
            Some(name) => {
                let algorithm = Algorithm::from_name(name).filter(fits);
                Ok(vec![algorithm.ok_or(Unusable::Algorithm)?])
            }
        }
    }
}

fn parameter(
    text: Option<&str>,
    name: &'static str,
    length: Option<usize>,
) -> Result<Vec<u8>, Unusable> {
    let text = text.filter(|text| !text.is_empty()).ok_or(Unusable::Missing(name))?;
    let bytes = base64url::decode(text).ok_or_else(|| not_base64url(text, name))?;
    match length {
        Some(expected) if bytes.len() != expected => {
            Err(Unusable::Length { name, found: bytes.len(), expected })
        }
        _ => Ok(bytes),
    }
}

fn not_base64url(text: &str, name: &'static str) -> Unusable {
    let unpadded = text.trim_end_matches('=');
    if !unpadded.bytes().all(base64url::is_in_alphabet) {
        Unusable::Alphabet(name)
    } else if unpadded.len() < text.len() {
        Unusable::Padded(name)
    } else {
        Unusable::LeftOver(name)
    }
}

/// Takes leading zeros off: RFC 7518, 6.3.1.1 forbids them, and some issuers send one.
fn unsigned(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    bytes
}

/// Whether a point of Ed25519, of 32 bytes, is one of the eight whose order is 8 or less, in any
/// encoding that a decoder takes. RFC 8032 lets a verifier take such a key; then zeros are a
/// signature of it over every message, or over one in a few.
fn has_small_order(point: &[u8]) -> bool {
    /// The two y of the points of order 8, lowest byte first.
    const OF_ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let [low, middle @ .., high] = point else { return true };
    // x has the same order as -x, and its sign is the highest bit
    let high = high & 0x7f;
    let is_all = |value: u8| middle.iter().all(|byte| *byte == value);
    // 0 and 1; then -1, 0 and 1 as they are modulo 2^255 - 19
    matches!((low, high), (0 | 1, 0)) && is_all(0)
        || matches!((low, high), (0xec..=0xee, 0x7f)) && is_all(0xff)
        || OF_ORDER_8
            .iter()
            .any(|[first, between @ .., last]| (first, &between[..], *last) == (low, middle, high))
}

fn prepare(algorithm: Algorithm, material: &Material) -> Result<ParsedPublicKey, Unusable> {
    match (algorithm.family(), material) {
        (Family::Rsa(parameters), Material::Rsa { n, e }) => {
            RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters)
        }
        (Family::Ec(parameters, ..), Material::Ec { point, .. }) => {
            ParsedPublicKey::new(parameters, point)
        }
        (Family::Ed25519, Material::Ed25519(x)) => ParsedPublicKey::new(&ED25519, x),
        #[cfg(feature = "ml-dsa")]
        (Family::MlDsa(parameters, _), Material::MlDsa(_, key)) => {
            ParsedPublicKey::new(parameters, key)
        }
        _ => return Err(Unusable::Algorithm),
    }
    .map_err(|_| Unusable::NoKey)
}
