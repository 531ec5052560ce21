//! A file whose file system hangs.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, mkfifoat};

/// A file whose file system hangs: a FIFO that stays empty. Reads return once this is dropped.
#[derive(Debug)]
pub struct HungFile {
    path: PathBuf,
    /// While it is open, a reader waits for more.
    _writer: File,
}

impl HungFile {
    /// Makes the file at this path hang. The content is lost.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let fifo = path.with_extension("fifo");
        mkfifoat(CWD, &fifo, Mode::RWXU).expect("a new FIFO");
        // with `read`, opening does not wait for a reader
        let writer = File::options().read(true).write(true).open(&fifo).expect("an open FIFO");
        fs::rename(fifo, path).expect("a FIFO in the place of the file");
        Self { path: path.to_owned(), _writer: writer }
    }

    /// Makes the path an ordinary file with this content. Reads that hang return with nothing.
    pub fn recover(self, content: impl AsRef<[u8]>) {
        let next = self.path.with_extension("next");
        fs::write(&next, content).expect("a new file");
        fs::rename(next, &self.path).expect("a file in the place of the FIFO");
    }
}
