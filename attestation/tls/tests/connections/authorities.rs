//! Servers for whose names an authority vouches.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tls::{Authorities, AuthoritiesError, Clients, Identity, Servers, TlsError};

use crate::support::{acceptor, connector, handshake, identity};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, names: &[&str], ended: bool) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if ended {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn servers(&self) -> Servers {
        Servers::Authorities(Authorities::from_pem(self.pem.as_bytes()).unwrap())
    }
}

#[tokio::test]
async fn a_name_and_an_address_that_an_authority_vouches_for_are_taken() {
    let authority = Authority::new("ours");
    let server = authority.issue(&["router.test", "127.0.0.1", "::1"], false);
    let acceptor = acceptor(&server, Clients::Anyone);
    let connector = connector(authority.servers(), None);
    for host in ["router.test", "127.0.0.1", "[::1]", "::1"] {
        let (accepted, connected) = handshake(&acceptor, &connector, host).await;
        assert!(accepted.is_ok() && connected.is_ok(), "{host}: {connected:?}");
    }
}

#[tokio::test]
async fn each_wrong_certificate_is_refused_for_its_reason() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    for (server, host, why) in [
        (ours.issue(&["other.test"], false), "router.test", "not valid for name"),
        (ours.issue(&["router.test"], true), "router.test", "expired"),
        (other.issue(&["router.test"], false), "router.test", "UnknownIssuer"),
        (identity(), "router.test", ""),
    ] {
        let acceptor = acceptor(&server, Clients::Anyone);
        let (_, connected) = handshake(&acceptor, &connector(ours.servers(), None), host).await;
        let refused = connected.unwrap_err();
        assert_eq!(refused.code(), "tls-certificate-refused", "{refused}");
        assert!(refused.to_string().contains(why), "{why}: {refused}");
        // Those that Mozilla knows vouch for none of them.
        let public = connector(Servers::Authorities(Authorities::mozilla()), None);
        let (_, connected) = handshake(&acceptor, &public, host).await;
        assert_eq!(connected.unwrap_err().code(), "tls-certificate-refused");
    }
}

#[tokio::test]
async fn a_host_that_is_no_name_is_refused() {
    let authority = Authority::new("ours");
    let acceptor = acceptor(&authority.issue(&["router.test"], false), Clients::Anyone);
    let (_, connected) =
        handshake(&acceptor, &connector(authority.servers(), None), "not a name").await;
    assert!(matches!(connected.unwrap_err(), TlsError::Certificate(_)));
}

#[test]
fn a_file_of_authorities_is_read_whole_or_not_at_all() {
    let one = Authority::new("ours").pem;
    assert!(Authorities::from_pem(one.repeat(2).as_bytes()).is_ok());
    let garbled = one.replace("BEGIN CERTIFICATE-----\n", "BEGIN CERTIFICATE-----\n!");
    let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (pem, code) in [
        (String::new(), AuthoritiesError::Empty),
        ("text".to_owned(), AuthoritiesError::Empty),
        (KeyPair::generate().unwrap().serialize_pem(), AuthoritiesError::Empty),
        (garbled, AuthoritiesError::NotPem),
        (format!("{one}{block}"), AuthoritiesError::Unusable),
        (one.repeat(513), AuthoritiesError::TooMany),
    ] {
        assert_eq!(Authorities::from_pem(pem.as_bytes()).unwrap_err(), code);
    }
}
