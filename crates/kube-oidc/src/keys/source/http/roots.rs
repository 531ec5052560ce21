//! Which root certificates are trusted, and the TLS settings that follow from them.

use std::{
    iter,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use memchr::memmem;
use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject as _},
    },
};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

use super::certificates::Explaining;
use crate::{
    keys::source::{FetchError, FileReader},
    observe::display::chain,
};

const SET_UP: &str = "failed to set up TLS";

/// The root certificates of a fetcher.
#[derive(Default)]
pub(super) struct Roots {
    given: Vec<CertificateDer<'static>>,
    files: Vec<FileReader>,
    /// The platform's are not trusted.
    exclude_platform: bool,
    last: Mutex<Option<Usable>>,
}

/// The TLS settings, and the contents of the files that they were made from.
struct Usable {
    files: Vec<Vec<u8>>,
    tls: TlsConnector,
}

impl Roots {
    pub(super) fn add_pem(&mut self, pem: &[u8]) -> Result<(), String> {
        let bundle = Bundle::parse(pem)?;
        bundle.warn_of_skipped(None);
        self.given.extend(bundle.certificates);
        Ok(())
    }

    pub(super) fn add_file(&mut self, path: PathBuf) {
        self.files.push(FileReader::new(path));
    }

    pub(super) fn exclude_platform(&mut self) {
        self.exclude_platform = true;
    }

    pub(super) fn given(&self) -> usize {
        self.given.len()
    }

    pub(super) fn files(&self) -> Vec<&Path> {
        self.files.iter().map(FileReader::path).collect()
    }

    /// Returns the TLS settings by the files as they are now, or by the last usable ones.
    pub(super) async fn tls(&self) -> Result<TlsConnector, FetchError> {
        let files = self.read().await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = match (files, &*last) {
            (Ok(files), Some(last)) if files == last.files => return Ok(last.tls.clone()),
            (Ok(files), _) => self.build(files),
            (Err(error), _) => Err(error),
        };
        match (usable, &*last) {
            (Ok(usable), _) => Ok(last.insert(usable).tls.clone()),
            (Err(error), Some(last)) => {
                let error = chain(&error);
                tracing::warn!(error, "failed to reload root certificates");
                Ok(last.tls.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn read(&self) -> Result<Vec<Vec<u8>>, FetchError> {
        let mut files = Vec::with_capacity(self.files.len());
        for file in &self.files {
            files.push(file.read().await?);
        }
        Ok(files)
    }

    fn build(&self, files: Vec<Vec<u8>>) -> Result<Usable, FetchError> {
        let mut certificates = self.given.clone();
        let mut bundles = Vec::with_capacity(files.len());
        for (path, pem) in self.files().into_iter().zip(&files) {
            let bundle = Bundle::parse(pem).map_err(|problem| {
                FetchError::new(format!(
                    "invalid root certificates in `{}`: {problem}",
                    path.display()
                ))
            })?;
            certificates.extend(bundle.certificates.iter().cloned());
            bundles.push((path, bundle));
        }
        let tls = self.configure(certificates)?;
        // once for these contents
        for (path, bundle) in bundles {
            bundle.warn_of_skipped(Some(path));
        }
        Ok(Usable { files, tls: TlsConnector::from(Arc::new(tls)) })
    }

    fn configure(
        &self,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<ClientConfig, FetchError> {
        let failed = |error: rustls::Error| FetchError::new(SET_UP).with_source(error);
        let provider = match CryptoProvider::get_default() {
            Some(installed) => Arc::clone(installed),
            #[cfg(feature = "remote")]
            None => Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            #[cfg(not(feature = "remote"))]
            None => {
                return Err(FetchError::new(
                    "missing rustls crypto provider; install one in the application, or enable \
                     the feature `remote` for aws-lc-rs",
                ));
            }
        };
        let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let verifier: Arc<dyn ServerCertVerifier> = if self.exclude_platform {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates.iter().cloned());
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
            verifier.build().map_err(|error| FetchError::new(SET_UP).with_source(error))?
        } else {
            let extra = certificates.iter().cloned();
            Arc::new(Verifier::new_with_extra_roots(extra, provider).map_err(failed)?)
        };
        let verifier = Explaining { verifier, roots: certificates };
        // rustls calls every verifier so that is not its own
        let trusting = versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let mut tls = trusting.with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        // each connection verifies the certificate of the server anew
        tls.resumption = Resumption::disabled();
        Ok(tls)
    }
}

/// The usable certificates of a PEM text.
#[derive(Debug)]
struct Bundle {
    certificates: Vec<CertificateDer<'static>>,
    /// The number of unusable blocks, and the problem of the first one.
    skipped: Option<(usize, &'static str)>,
}

impl Bundle {
    /// Reads each block on its own, so that a bad one does not affect the others.
    fn parse(pem: &[u8]) -> Result<Self, String> {
        let mut bundle = Self { certificates: Vec::new(), skipped: None };
        for block in blocks(pem) {
            match certificate(block) {
                Ok(certificate) => bundle.certificates.extend(certificate),
                Err(problem) => bundle.skipped.get_or_insert((0, problem)).0 += 1,
            }
        }
        match &bundle.skipped {
            _ if !bundle.certificates.is_empty() => Ok(bundle),
            Some((_, problem)) => Err(format!("no usable certificate; {problem}")),
            None => Err("no certificate in PEM format".to_owned()),
        }
    }

    fn warn_of_skipped(&self, file: Option<&Path>) {
        if let Some((skipped, error)) = &self.skipped {
            let file = file.map(|file| file.display().to_string());
            tracing::warn!(file, skipped, error, "skipped invalid root certificates");
        }
    }
}

/// The parts of a PEM text that begin with a `BEGIN` line.
fn blocks(pem: &[u8]) -> impl Iterator<Item = &[u8]> {
    let at_line_start = |at: &usize| *at == 0 || matches!(pem[at - 1], b'\n' | b'\r');
    let mut starts = memmem::find_iter(pem, "-----BEGIN ").filter(at_line_start).peekable();
    iter::from_fn(move || {
        let start = starts.next()?;
        Some(&pem[start..starts.peek().copied().unwrap_or(pem.len())])
    })
}

/// Reads the certificate of a block, if the block is for one.
fn certificate(block: &[u8]) -> Result<Option<CertificateDer<'static>>, &'static str> {
    let read = CertificateDer::pem_slice_iter(block).next().transpose();
    // the texts of these errors repeat lines of the file
    let certificate = read.map_err(|error| match error {
        pem::Error::MissingSectionEnd { .. } => "missing END line",
        pem::Error::Base64Decode(_) => "invalid base64",
        _ => "invalid PEM",
    })?;
    // an invalid one would be an error for all of them
    let usable = certificate.as_ref().map(|it| RootCertStore::empty().add(it.clone()));
    usable.transpose().map_err(|_| "invalid certificate")?;
    Ok(certificate)
}
