//! What a policy is made of.

use std::fmt;

use super::{Policy, PolicyError};
use crate::{claims::Claims, observe::display::Shown, verified::Verified};

/// Whether a rule holds for a caller. `Unknown` is for a rule that cannot be decided: neither it nor
/// its negation allows the caller (Kleene's logic).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    Unknown,
    Yes,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// The rule that does not allow a caller, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DenyReason {
    pub(super) rule: String,
    /// What is wrong with the rule.
    hint: Option<String>,
}

/// As many bytes of a rule as a log line shows.
const SHOWN_BYTES: usize = 1024;

impl DenyReason {
    /// A long rule is cut, as callers decide how often it is logged.
    pub(super) fn cut(mut self) -> Self {
        if self.rule.len() > SHOWN_BYTES {
            let end = (0..=SHOWN_BYTES).rev().find(|at| self.rule.is_char_boundary(*at));
            self.rule.truncate(end.unwrap_or_default());
            self.rule.push('…');
        }
        self
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// What a policy is made of. It shows in words, for the log.
pub(super) trait Rule<C: Claims>: fmt::Display + Send + Sync + 'static {
    fn holds_for(&self, caller: &Verified<C>) -> Truth;

    fn validate(&self) -> Result<(), PolicyError>;

    /// What is wrong with it, for a caller whom it does not allow.
    fn hint(&self, caller: &Verified<C>) -> Option<String>;

    /// Why it does not allow a caller whom it does not allow.
    fn refusal(&self, caller: &Verified<C>) -> DenyReason {
        DenyReason { rule: self.to_string(), hint: self.hint(caller) }
    }
}

/// One thing that a caller is held to.
pub(super) trait Plain<C: Claims>: fmt::Display + Send + Sync + 'static {
    /// Asked only if it is valid.
    fn holds_for(&self, caller: &Verified<C>) -> Truth;

    fn validate(&self) -> Result<(), PolicyError>;

    /// Why it cannot be said whether it holds for a caller.
    fn hint(&self, _: &Verified<C>) -> Option<&'static str> {
        None
    }
}

/// A plain rule, looked at once for whether it makes sense.
pub(super) struct Looked<R> {
    rule: R,
    problem: Option<PolicyError>,
}

impl<R> Looked<R> {
    pub(super) fn at<C: Claims>(rule: R) -> Self
    where
        R: Plain<C>,
    {
        let problem = rule.validate().err();
        Self { rule, problem }
    }
}

impl<C: Claims, R: Plain<C>> Rule<C> for Looked<R> {
    fn holds_for(&self, caller: &Verified<C>) -> Truth {
        if self.problem.is_none() { self.rule.holds_for(caller) } else { Truth::Unknown }
    }

    fn validate(&self) -> Result<(), PolicyError> {
        self.problem.clone().map_or(Ok(()), Err)
    }

    fn hint(&self, caller: &Verified<C>) -> Option<String> {
        match &self.problem {
            Some(problem) => Some(problem.to_string()),
            None => self.rule.hint(caller).map(str::to_owned),
        }
    }
}

impl<R: fmt::Display> fmt::Display for Looked<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.fmt(f)
    }
}

/// A text that every token of a kind has, such as the name of a cluster.
pub(super) fn not_blank(of: &'static str, name: &str) -> Result<(), PolicyError> {
    // white space comes with environment variables, and `*` is no pattern here
    if name.is_empty() || name.trim() != name || name.contains('*') {
        Err(PolicyError::InvalidName { of, name: name.to_owned() })
    } else {
        Ok(())
    }
}

pub(super) struct Audience(pub(super) String);

impl<C: Claims> Plain<C> for Audience {
    fn holds_for(&self, caller: &Verified<C>) -> Truth {
        caller.registered().audiences().any(|audience| audience == self.0).into()
    }

    fn validate(&self) -> Result<(), PolicyError> {
        not_blank("audience", &self.0)
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "for the audience {}", Shown(&self.0))
    }
}

pub(super) struct When<C: Claims> {
    pub(super) name: String,
    #[expect(clippy::type_complexity, reason = "it is a check")]
    pub(super) check: Box<dyn Fn(&Verified<C>) -> bool + Send + Sync>,
}

impl<C: Claims> Plain<C> for When<C> {
    fn holds_for(&self, caller: &Verified<C>) -> Truth {
        (self.check)(caller).into()
    }

    fn validate(&self) -> Result<(), PolicyError> {
        Ok(())
    }
}

impl<C: Claims> fmt::Display for When<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "when {}", Shown(&self.name))
    }
}

pub(super) struct All<C: Claims>(pub(super) Vec<Policy<C>>);

impl<C: Claims> Rule<C> for All<C> {
    fn holds_for(&self, caller: &Verified<C>) -> Truth {
        self.0.iter().map(|part| part.0.holds_for(caller)).min().unwrap_or(Truth::Unknown)
    }

    fn validate(&self) -> Result<(), PolicyError> {
        validate_parts(&self.0)
    }

    /// The first part that does not allow the caller.
    fn refusal(&self, caller: &Verified<C>) -> DenyReason {
        let refuses = |part: &&Policy<C>| part.0.holds_for(caller) != Truth::Yes;
        match self.0.iter().find(refuses) {
            Some(part) => part.0.refusal(caller),
            None => DenyReason { rule: self.to_string(), hint: self.hint(caller) },
        }
    }

    fn hint(&self, caller: &Verified<C>) -> Option<String> {
        hint_of_parts(&self.0, caller)
    }
}

impl<C: Claims> fmt::Display for All<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_joined(f, &self.0, " and ")
    }
}

pub(super) struct Any<C: Claims>(pub(super) Vec<Policy<C>>);

impl<C: Claims> Rule<C> for Any<C> {
    fn holds_for(&self, caller: &Verified<C>) -> Truth {
        self.0.iter().map(|part| part.0.holds_for(caller)).max().unwrap_or(Truth::Unknown)
    }

    fn validate(&self) -> Result<(), PolicyError> {
        validate_parts(&self.0)
    }

    /// That of the first part that makes no sense.
    fn hint(&self, caller: &Verified<C>) -> Option<String> {
        hint_of_parts(&self.0, caller)
    }
}

impl<C: Claims> fmt::Display for Any<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_joined(f, &self.0, " or ")
    }
}

pub(super) struct Not<C: Claims>(pub(super) Policy<C>);

impl<C: Claims> Rule<C> for Not<C> {
    fn holds_for(&self, caller: &Verified<C>) -> Truth {
        match self.0.0.holds_for(caller) {
            Truth::Yes => Truth::No,
            Truth::Unknown => Truth::Unknown,
            Truth::No => Truth::Yes,
        }
    }

    fn validate(&self) -> Result<(), PolicyError> {
        self.0.validate()
    }

    fn hint(&self, caller: &Verified<C>) -> Option<String> {
        self.0.0.hint(caller)
    }
}

impl<C: Claims> fmt::Display for Not<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {}", self.0)
    }
}

fn hint_of_parts<C: Claims>(parts: &[Policy<C>], caller: &Verified<C>) -> Option<String> {
    if parts.is_empty() {
        return Some(PolicyError::Empty.to_string());
    }
    parts.iter().find_map(|part| part.0.hint(caller))
}

fn validate_parts<C: Claims>(parts: &[Policy<C>]) -> Result<(), PolicyError> {
    if parts.is_empty() {
        return Err(PolicyError::Empty);
    }
    parts.iter().try_for_each(Policy::validate)
}

fn show_joined<C: Claims>(
    f: &mut fmt::Formatter<'_>,
    parts: &[Policy<C>],
    word: &str,
) -> fmt::Result {
    f.write_str("(")?;
    for (index, part) in parts.iter().enumerate() {
        f.write_str(if index > 0 { word } else { "" })?;
        write!(f, "{part}")?;
    }
    f.write_str(")")
}
