//! A token that was taken apart, and the checks that need no key.

use super::state::State;
use crate::{
    claims::{Claims, Payload},
    clock::Moment,
    encoding::base64url::Room,
    error::InvalidToken,
    issuer_name::Names,
    jws::{Compact, Header},
    keys::set::{Fitting, KeySet, NoKey},
};

/// A token that was taken apart, of which nothing is believed.
pub(super) struct Unverified<'a> {
    pub(super) token: &'a [u8],
    pub(super) signing_input: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) header: Header<'a>,
    pub(super) payload: Payload<'a>,
    /// The payload as text.
    pub(super) text: &'a str,
    /// Whether it is only explained: then nothing is fetched, counted, logged or remembered.
    pub(super) rehearsed: bool,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart, and does every check that needs no key.
    pub(super) fn open<C: Claims>(
        state: &State<C>,
        token: &'a [u8],
        room: &mut Room<'a>,
    ) -> Result<Self, InvalidToken> {
        let compact = Compact::parse(token)?;
        let header = Header::parse(compact.decode_header(room)?, &state.allowed)?;
        state.validation.check_type(&header)?;
        let text = compact.decode_payload(room)?;
        let payload = Payload::parse(text, C::KUBERNETES)?;
        if payload.has_legacy_issuer() && !state.issuers.load().are_configured_with(&payload.iss) {
            return Err(InvalidToken::LegacyToken);
        }
        state.validation.check_bearer(&payload)?;
        let signature = compact.decode_signature(room)?;
        let signing_input = compact.signing_input;
        Ok(Self { token, signing_input, signature, header, payload, text, rehearsed: false })
    }

    /// Whether the token would pass every other check if one of the keys had signed it.
    pub(super) fn could_pass<'n, C: Claims>(
        &self,
        state: &State<C>,
        candidates: impl Iterator<Item = &'n Names>,
        now: Moment,
    ) -> bool {
        state.validation.check_unverified(&self.payload, candidates, now.wall).is_ok()
            && !state.denylist.is_denied(self.payload.jti.as_deref())
            && C::keep(&self.payload, self.text).is_ok()
    }

    pub(super) fn find<'k>(&self, keys: &'k KeySet) -> Result<Fitting<'k>, NoKey> {
        keys.find(self.header.kid.as_deref(), self.header.algorithm)
    }
}
