//! The certificates of one cluster: an authority of its own, and what it signs.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// How long certificates are valid. They begin a day ago, because clocks differ.
const VALID: Duration = Duration::days(3650);

/// Why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the certificate of {name}: {source}")]
pub struct CertificateProblem {
    name: String,
    source: rcgen::Error,
}

/// Signs the servers' certificates. Its key is dropped afterwards and never written.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    now: OffsetDateTime,
}

impl Authority {
    pub(super) fn new() -> Result<Self, CertificateProblem> {
        let name = "Ferry cluster authority";
        let now = OffsetDateTime::now_utc();
        let make = || {
            let mut params = params(name, &[], now)?;
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let key = KeyPair::generate()?;
            let certificate = params.self_signed(&key)?.pem();
            Ok(Self { issuer: Issuer::new(params, key), certificate, now })
        };
        make().map_err(|source| CertificateProblem { name: name.to_owned(), source })
    }

    /// Its own certificate, PEM: what clients trust.
    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The last day of all certificates.
    pub(super) fn until(&self) -> String {
        (self.now + VALID).date().to_string()
    }

    /// Certificate and key, PEM, of a server that is reached under these names or addresses. The servers of a cluster
    /// also show it to each other.
    pub(super) fn sign(
        &self,
        server: &str,
        names: &[String],
    ) -> Result<(String, String), CertificateProblem> {
        let make = || {
            let mut params = params(server, names, self.now)?;
            params.use_authority_key_identifier_extension = true;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate()?;
            Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
        };
        make().map_err(|source| CertificateProblem { name: server.to_owned(), source })
    }
}

fn params(name: &str, names: &[String], now: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now - Duration::DAY;
    params.not_after = now + VALID;
    Ok(params)
}
