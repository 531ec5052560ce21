//! Certificates and TLS servers with any fault.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
        version::{TLS12, TLS13},
    },
};

/// The names of a server on loopback.
pub const LOOPBACK: &[&str] = &["127.0.0.1", "localhost"];

/// A certificate authority.
pub type Authority = CertifiedIssuer<'static, KeyPair>;

/// Generates an authority, with changes to its certificate.
#[must_use]
pub fn authority(change: impl FnOnce(&mut CertificateParams)) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "hostile issuer CA");
    change(&mut params);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
        .expect("a certificate")
}

/// Issues a certificate for these names, with changes, and generates its key.
#[must_use]
pub fn certificate(
    names: &[&str],
    authority: &Authority,
    change: impl FnOnce(&mut CertificateParams),
) -> (Vec<CertificateDer<'static>>, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("valid names");
    change(&mut params);
    (vec![params.signed_by(&key, authority).expect("a certificate").der().clone()], key)
}

/// The TLS side of a server with this certificate chain.
#[must_use]
pub fn acceptor(
    (chain, key): (Vec<CertificateDer<'static>>, KeyPair),
    alpn: &[&str],
) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("supported versions")
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("a certificate with its key");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
