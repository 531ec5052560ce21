//! Certificates that other clients accept, and what to change about them.

use std::{error::Error, fmt, io, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::observe::display::{Cut, chain};

/// Shows why a handshake failed, and what to change about the certificate of the server.
pub(super) fn shown(error: &io::Error) -> String {
    let certificate = error.get_ref().and_then(|error| match error.downcast_ref()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(error))) => {
            Some(error)
        }
        _ => None,
    });
    let advice = match certificate {
        None => None,
        Some(error) => match (error.downcast_ref(), &*error.to_string()) {
            (Some(Explained(_, advice)), text) => {
                return format!("invalid peer certificate: {text}; {advice}");
            }
            (None, "CaUsedAsEndEntity") => Some(
                "the certificate of the server is that of a CA; serve one with \
                 basicConstraints=CA:FALSE, or one that the CA signed",
            ),
            (None, "EndEntityUsedAsCa") => Some(
                "the certificate was signed by one that is no CA; sign it with a CA \
                 (basicConstraints=CA:TRUE)",
            ),
            _ => None,
        },
    };
    // it may list every name of the certificate
    let shown = Cut(&chain(error)).to_string();
    advice.map(|advice| format!("{shown}; {advice}")).unwrap_or(shown)
}

/// Verifies certificates as another verifier does, and explains why no root certificate leads to one.
#[derive(Debug)]
pub(super) struct Explaining {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    /// The root certificates that are configured.
    pub(super) roots: Vec<CertificateDer<'static>>,
}

/// An error, and what to change.
#[derive(Debug)]
struct Explained(CertificateError, &'static str);

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Explained {}

impl Explaining {
    fn advice(
        &self,
        error: &CertificateError,
        end_entity: &[u8],
        sent_intermediates: bool,
    ) -> Option<&'static str> {
        Some(match error {
            CertificateError::BadSignature => {
                "a root certificate has the name of the CA that signed, and another key; configure \
                 the current certificate of the CA"
            }
            CertificateError::UnknownIssuer
                if self.roots.iter().any(|root| **root == *end_entity) =>
            {
                "the root certificates contain the server's own certificate; configure the CA that \
                 signed it"
            }
            CertificateError::UnknownIssuer if sent_intermediates => {
                "no root certificate signed the chain of the server; configure its CA"
            }
            CertificateError::UnknownIssuer => {
                "the server sent no intermediate certificate, and no root certificate signed its \
                 own; serve the full chain, or configure the CA that signed the certificate"
            }
            _ => return None,
        })
    }
}

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        verified.map_err(|error| {
            let rustls::Error::InvalidCertificate(error) = error else { return error };
            match self.advice(&error, end_entity, !intermediates.is_empty()) {
                Some(advice) => {
                    let explained = Arc::new(Explained(error, advice));
                    CertificateError::Other(OtherError(explained)).into()
                }
                None => error.into(),
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.verifier.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.verifier.root_hint_subjects()
    }
}
