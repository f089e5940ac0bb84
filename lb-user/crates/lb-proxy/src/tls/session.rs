//! What is known of a client from its TLS handshake.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::HeaderValue;
use rustls::ServerConnection;
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer as _, time::ASN1Time, x509::X509Name,
};

use super::H2;

/// Short names as OpenSSL has them; an attribute without one is told by its numbers.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.18", "postOfficeBox"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// A client's TLS.
#[derive(Debug)]
pub(crate) struct Session {
    /// The name it asked for.
    pub(crate) sni: Option<String>,
    /// What it showed, checked; also when the session was resumed.
    pub(crate) certificate: Option<Box<ClientCertificate>>,
    /// It speaks HTTP/2.
    pub(crate) h2: bool,
}

impl Session {
    pub(crate) fn of(connection: &ServerConnection) -> Self {
        let shown = connection.peer_certificates();
        Self {
            sni: connection.server_name().map(str::to_owned),
            certificate: shown
                .and_then(<[_]>::first)
                .and_then(|der| ClientCertificate::read(der))
                .map(Box::new),
            h2: connection.alpn_protocol() == Some(H2),
        }
    }
}

/// A client's certificate as members get to see it (contract 10.4): the texts of HAProxy's
/// `ssl_c_s_dn`, `ssl_c_i_dn`, `ssl_c_sha1,hex`, `ssl_c_notbefore` and `ssl_c_notafter`, in quotes.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// Short name and value, in the certificate's order.
    subject: Vec<(String, Vec<u8>)>,
    pub(crate) subject_dn: HeaderValue,
    pub(crate) common_name: HeaderValue,
    pub(crate) issuer_dn: HeaderValue,
    pub(crate) sha1: HeaderValue,
    pub(crate) not_before: HeaderValue,
    pub(crate) not_after: HeaderValue,
}

impl ClientCertificate {
    fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = attributes(certificate.subject());
        let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, der);
        let sha1: String = sha1.as_ref().iter().map(|it| format!("{it:02X}")).collect();
        let validity = certificate.validity();
        Some(Self {
            subject_dn: quoted(&one_line(&subject)),
            common_name: quoted(first(&subject, "CN").unwrap_or_default()),
            issuer_dn: quoted(&one_line(&attributes(certificate.issuer()))),
            sha1: quoted(sha1.as_bytes()),
            not_before: quoted(short_time(validity.not_before).as_bytes()),
            not_after: quoted(short_time(validity.not_after).as_bytes()),
            subject,
        })
    }

    /// The first value of a field of the subject.
    pub(crate) fn field(&self, key: &str) -> Option<&[u8]> {
        first(&self.subject, key)
    }
}

/// What a header says of a certificate that is not there.
pub(crate) fn no_certificate() -> HeaderValue {
    HeaderValue::from_static("\"\"")
}

fn first<'a>(subject: &'a [(String, Vec<u8>)], key: &str) -> Option<&'a [u8]> {
    let found = subject.iter().find(|(name, _)| name == key);
    found.map(|(_, value)| value.as_slice())
}

fn attributes(name: &X509Name<'_>) -> Vec<(String, Vec<u8>)> {
    let attribute = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        let oid = attribute.attr_type().to_id_string();
        let known = SHORT_NAMES.iter().find(|(number, _)| *number == oid);
        let name = known.map_or(oid.as_str(), |(_, name)| name).to_owned();
        (name, attribute.as_slice().to_vec())
    };
    name.iter_attributes().map(attribute).collect()
}

/// `/C=US/O=Example/CN=name`.
fn one_line(attributes: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut line = Vec::new();
    for (name, value) in attributes {
        line.push(b'/');
        line.extend(name.bytes());
        line.push(b'=');
        line.extend(value);
    }
    line
}

/// `YYMMDDhhmmssZ`, as it stands in the certificate.
fn short_time(time: ASN1Time) -> String {
    let time = time.to_datetime();
    if !(1950..2100).contains(&time.year()) {
        return String::new();
    }
    format!(
        "{:02}{:02}{:02}{:02}{:02}{:02}Z",
        time.year() % 100,
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// In quotes, and on one line whatever a certificate holds.
fn quoted(text: &[u8]) -> HeaderValue {
    let is_visible = |byte: &u8| *byte >= b' ' && *byte != 0x7f;
    let text = text.iter();
    let text = text.map(|byte| if is_visible(byte) { *byte } else { b'?' });
    let value: Vec<u8> = std::iter::once(b'"').chain(text).chain([b'"']).collect();
    HeaderValue::from_bytes(&value).unwrap_or_else(|_unlikely| no_certificate())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_certificate_is_told_as_haproxy_tells_it() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let dn = &mut params.distinguished_name;
        dn.push(DnType::CountryName, "XX");
        dn.push(DnType::OrganizationName, "Ex\r\nample");
        dn.push(DnType::CommonName, "client");
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2051, 12, 31);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let read = ClientCertificate::read(made.der()).unwrap();
        assert_eq!(read.subject_dn, "\"/C=XX/O=Ex??ample/CN=client\"");
        assert_eq!(read.issuer_dn, read.subject_dn);
        assert_eq!(read.common_name, "\"client\"");
        assert_eq!(read.not_before, "\"260102000000Z\"");
        assert_eq!(read.not_after, "\"511231000000Z\"");
        assert_eq!(read.sha1.len(), 42);
        assert_eq!(read.field("C"), Some(&b"XX"[..]));
        assert_eq!(read.field("cn"), None);
    }
}
