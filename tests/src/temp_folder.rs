use std::{
    fs,
    path::{Path, PathBuf},
};

/// A new folder, which is removed when it is dropped.
#[derive(Debug)]
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// Creates an empty folder.
    #[must_use]
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("kube-oidc-{}", fastrand::u64(..)));
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    /// Creates a folder as it is mounted into a pod.
    #[must_use]
    pub fn with_service_account(ca_pem: &str, token: &str) -> Self {
        let folder = Self::new();
        folder.write("ca.crt", ca_pem);
        folder.write("token", token);
        folder
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file at once, as the kubelet does, and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (path, next) = (self.0.join(name), self.0.join(format!("{name}.next")));
        fs::write(&next, content).expect("a new file");
        fs::rename(next, &path).expect("a file in the place of the old one");
        path
    }
}

impl Default for TempFolder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
