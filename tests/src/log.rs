//! Everything that is logged in this process, at the finest level, be it by `tracing` or by `log`.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

/// The log of this process since a test began. Tests run in parallel, so look for lines of your own.
#[derive(Clone, Debug, Default)]
pub struct Log {
    bytes: Arc<Mutex<Vec<u8>>>,
    start: usize,
}

impl Log {
    /// Catches the log from now on.
    pub fn catch() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let log = LOG.get_or_init(|| {
            let log = Self::default();
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_ansi(false)
                .with_writer(log.clone())
                .init();
            log
        });
        let start = log.lock().len();
        Self { start, ..log.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock()[self.start..]).into_owned()
    }

    /// The lines with all of these texts.
    #[must_use]
    pub fn lines_with(&self, texts: &[&str]) -> Vec<String> {
        let text = self.text();
        let has_all = |line: &&str| texts.iter().all(|text| line.contains(text));
        text.lines().filter(has_all).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
