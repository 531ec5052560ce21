//! Many short texts in one allocation.

/// Texts that are kept together, each found by its [`Span`].
#[derive(Clone)]
pub(crate) struct Packed(String);

/// Where a text is among others.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Packed {
    /// Room for texts of so many bytes in all, which more may exceed.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    pub(crate) fn push(&mut self, text: &str) -> Span {
        let start = self.end();
        self.0.push_str(text);
        Span { start, end: self.end() }
    }

    /// Texts of more than 4 GiB, of which no token has any, would be cut.
    fn end(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The text of a span that [`push`](Self::push) gave.
    pub(crate) fn get(&self, span: Span) -> &str {
        self.0.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// How many bytes are held in memory.
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}
