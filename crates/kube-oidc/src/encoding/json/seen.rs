//! Names that were seen in one object.

use std::{borrow::Cow, collections::HashSet};

/// The names of no interest that were seen in one object. A list while they are few, for speed; then a set, so that an
/// object of thousands of members costs no more than linear time.
#[derive(Default)]
pub(super) struct Seen<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Seen<'de> {
    const FEW: usize = 16;

    /// `false`: it was there already.
    #[expect(clippy::ptr_arg, reason = "a clone of it may be borrowed")]
    pub(super) fn insert(&mut self, name: &Cow<'de, str>) -> bool {
        !self.few.contains(name)
            && if self.few.len() < Self::FEW {
                self.few.push(name.clone());
                true
            } else {
                self.many.insert(name.clone())
            }
    }
}
