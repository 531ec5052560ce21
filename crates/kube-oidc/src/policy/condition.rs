//! The conditions that a rule consists of.

use std::fmt;

use super::{PolicyError, Rule};
use crate::{claims::Claims, observe::display::Shown, verified::Verified};

/// Whether a condition holds for a caller. An `Unknown` condition denies, and so does its negation
/// (Kleene's logic).
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

/// The condition that does not allow a caller, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DenyReason {
    pub(super) rule: String,
    hint: Option<&'static str>,
}

/// Maximum length of a rule in a log line, in bytes.
const MAX_RULE_BYTES: usize = 1024;

impl DenyReason {
    fn of<C: Claims>(condition: &(impl Condition<C> + ?Sized), caller: &Verified<C>) -> Self {
        Self { rule: condition.to_string(), hint: condition.hint(caller) }
    }

    /// Truncates a long rule, because callers control how often it is logged.
    pub(super) fn truncated(mut self) -> Self {
        if self.rule.len() > MAX_RULE_BYTES {
            let end = (0..=MAX_RULE_BYTES).rev().find(|at| self.rule.is_char_boundary(*at));
            self.rule.truncate(end.unwrap_or_default());
            self.rule.push('…');
        }
        self
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rule)?;
        self.hint.map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// A condition on a caller. Its `Display` is for the log.
pub(super) trait Condition<C: Claims>: fmt::Display + Send + Sync + 'static {
    /// Called for valid conditions only.
    fn holds_for(&self, caller: &Verified<C>) -> Truth;

    /// Adds everything that is invalid.
    fn find_faults(&self, faults: &mut Vec<PolicyError>);

    /// Returns why the condition is undecided for a caller.
    fn hint(&self, _: &Verified<C>) -> Option<&'static str> {
        None
    }

    /// Returns why a caller is denied, for a condition that does not hold.
    fn deny_reason(&self, caller: &Verified<C>) -> DenyReason {
        DenyReason::of(self, caller)
    }
}

/// Adds a fault unless a name could be the value of a claim, such as an audience.
pub(super) fn check_exact(of: &'static str, name: &str, faults: &mut Vec<PolicyError>) {
    // white space comes with environment variables, and `*` is no pattern here
    if name.is_empty() || name.trim() != name || name.contains('*') {
        let expected = "a name without `*` and surrounding white space";
        faults.push(PolicyError::InvalidName { of, name: name.to_owned(), expected });
    }
}

pub(super) struct Audience(pub(super) String);

impl<C: Claims> Condition<C> for Audience {
    fn holds_for(&self, caller: &Verified<C>) -> Truth {
        caller.registered().audiences().any(|audience| audience == self.0).into()
    }

    fn find_faults(&self, faults: &mut Vec<PolicyError>) {
        check_exact("audience", &self.0, faults);
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "for the audience {}", Shown(&self.0))
    }
}

pub(super) struct When<F> {
    pub(super) name: String,
    pub(super) check: F,
}

impl<C: Claims, F> Condition<C> for When<F>
where
    F: Fn(&Verified<C>) -> bool + Send + Sync + 'static,
{
    fn holds_for(&self, caller: &Verified<C>) -> Truth {
        (self.check)(caller).into()
    }

    fn find_faults(&self, _: &mut Vec<PolicyError>) {}
}

impl<F> fmt::Display for When<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "when {}", Shown(&self.name))
    }
}

/// Several rules, joined by `and` or by `or`.
pub(super) struct Joined<C: Claims> {
    pub(super) by: Join,
    pub(super) rules: Vec<Rule<C>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    And,
    Or,
}

impl<C: Claims> Condition<C> for Joined<C> {
    fn holds_for(&self, caller: &Verified<C>) -> Truth {
        let truths = self.rules.iter().map(|rule| rule.0.holds_for(caller));
        let truth = match self.by {
            Join::And => truths.min(),
            Join::Or => truths.max(),
        };
        truth.unwrap_or(Truth::Unknown)
    }

    fn find_faults(&self, faults: &mut Vec<PolicyError>) {
        if self.rules.is_empty() {
            faults.push(PolicyError::Empty);
        }
        self.rules.iter().for_each(|rule| rule.0.find_faults(faults));
    }

    fn hint(&self, caller: &Verified<C>) -> Option<&'static str> {
        self.rules.iter().find_map(|rule| rule.0.hint(caller))
    }

    /// Of rules that are joined by `and`, the first that does not hold is the reason.
    fn deny_reason(&self, caller: &Verified<C>) -> DenyReason {
        let denies = |rule: &&Rule<C>| rule.0.holds_for(caller) != Truth::Yes;
        match self.rules.iter().find(denies) {
            Some(rule) if self.by == Join::And => rule.0.deny_reason(caller),
            _ => DenyReason::of(self, caller),
        }
    }
}

impl<C: Claims> fmt::Display for Joined<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.by {
            Join::And => " and ",
            Join::Or => " or ",
        };
        f.write_str("(")?;
        for (index, rule) in self.rules.iter().enumerate() {
            f.write_str(if index > 0 { word } else { "" })?;
            write!(f, "{rule}")?;
        }
        f.write_str(")")
    }
}

pub(super) struct Not<C: Claims>(pub(super) Rule<C>);

impl<C: Claims> Condition<C> for Not<C> {
    fn holds_for(&self, caller: &Verified<C>) -> Truth {
        match self.0.0.holds_for(caller) {
            Truth::Yes => Truth::No,
            Truth::Unknown => Truth::Unknown,
            Truth::No => Truth::Yes,
        }
    }

    fn find_faults(&self, faults: &mut Vec<PolicyError>) {
        self.0.0.find_faults(faults);
    }

    fn hint(&self, caller: &Verified<C>) -> Option<&'static str> {
        self.0.0.hint(caller)
    }
}

impl<C: Claims> fmt::Display for Not<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {}", self.0)
    }
}
