//! What a client is made of, before it talks to anyone.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attestation::{Endorsements, Secret, UnixTime};
use http::Uri;
use tls::Authorities;
use verifier::{AnchorKind, Policy};

use crate::endorse::Endorser;
use crate::error::Error;
use crate::memory::Memory;
use crate::random;
use crate::session::Client;
use crate::signed::load_policy_files;

/// A router's address: `https` anywhere, plain `http` on this machine alone.
///
/// The seal does not depend on the connection, but the API key is on it, and who asks and when is
/// visible on it: so neither leaves this machine without TLS (`docs/protocol.md` §5.6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouterUrl {
    scheme: Scheme,
    authority: String,
    /// The host is an address of this machine's, and no resolver was asked.
    is_here: bool,
}

/// How a router is spoken to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// As a URL has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl RouterUrl {
    /// Reads `https://HOST:PORT` or `http://HOST:PORT`, with nothing but an optional slash after it.
    ///
    /// # Errors
    /// Another scheme, plain `http` to a host that is not loopback, a path, or no address at all.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let bad = |why| Error::RouterUrl { url: url.to_owned(), why };
        let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
        let (scheme, authority) = place(&uri).map_err(bad)?;
        if !matches!(uri.path_and_query().map(http::uri::PathAndQuery::as_str), None | Some("/")) {
            return Err(bad("has a path; the router's address has none"));
        }
        let host = uri.host().unwrap_or_default();
        if scheme == Scheme::Http && loopback(host).is_none() {
            return Err(bad(NOT_LOOPBACK));
        }
        let is_here = scheme == Scheme::Http || address(host).is_some_and(|ip| ip.is_loopback());
        Ok(Self { scheme, authority, is_here })
    }

    /// How it is spoken to.
    pub(crate) const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The address of a path below the router.
    pub(crate) fn join(&self, path: &str) -> Result<Uri, Error> {
        format!("{self}{path}").parse().map_err(|_| Error::Bug("a path that is not one"))
    }
}

impl fmt::Display for RouterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority)
    }
}

/// How and where a URL is connected to, or why it is none.
pub(crate) fn place(uri: &Uri) -> Result<(Scheme, String), &'static str> {
    let (scheme, port_default) = match uri.scheme_str() {
        Some("http") => (Scheme::Http, 80),
        Some("https") => (Scheme::Https, 443),
        _ => return Err(NO_SCHEME),
    };
    let authority = uri.authority().ok_or("has no host")?;
    if authority.as_str().contains('@') {
        return Err("has a user name, which nobody would read");
    }
    let host = authority.host();
    // A number that is no port must not become another one.
    let port = match authority.port_u16() {
        Some(port) => port,
        None if authority.as_str() == host => port_default,
        None => return Err("has a port that is none"),
    };
    let authority = match (scheme, loopback(host)) {
        (Scheme::Http, Some(address)) => SocketAddr::new(address, port).to_string(),
        // The certificate is for the host as it was given.
        (Scheme::Http, None) | (Scheme::Https, _) => {
            format!("{}:{port}", host.to_ascii_lowercase())
        }
    };
    Ok((scheme, authority))
}

/// The address of a host on this machine. The name `localhost` is taken to mean what it should:
/// nobody's resolver decides where ciphertext goes.
pub(crate) fn loopback(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address(host).filter(IpAddr::is_loopback)
}

/// The address that a host of a URL is, if it is one.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether a URL names a host, and that host is not this machine. A word alone is no URL.
fn is_elsewhere(url: &str) -> bool {
    let uri: Option<Uri> = url.parse().ok().filter(|uri: &Uri| uri.scheme().is_some());
    uri.as_ref().and_then(Uri::host).is_some_and(|host| loopback(host).is_none())
}

/// How long a client waits, for whom.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For a whole answer that is not a response: the fleet, evidence.
    pub exchange: Duration,
    /// For the head of a sealed response.
    pub head: Duration,
    /// For the next chunk of a sealed response.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            exchange: Duration::from_secs(30),
            head: Duration::from_mins(2),
            idle: Duration::from_mins(2),
        }
    }
}

/// Where the present moment comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> UnixTime + Send + Sync>);

impl Clock {
    /// A clock that asks `read` every time.
    pub fn new(read: impl Fn() -> UnixTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The present moment.
    pub fn now(&self) -> UnixTime {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// Builds a [`Client`].
#[derive(Debug)]
pub struct Builder {
    pub(crate) router: String,
    pub(crate) policy: Arc<Policy>,
    pub(crate) clock: Clock,
    pub(crate) endorsements: Endorsements,
    pub(crate) endorser: Option<Arc<dyn Endorser>>,
    pub(crate) memory: Option<Memory>,
    pub(crate) authorization: Option<Secret<String>>,
    pub(crate) authorities: Authorities,
    pub(crate) candidates_max: usize,
    pub(crate) timeouts: Timeouts,
    pub(crate) tenant: Option<Secret<[u8; 32]>>,
}

impl Builder {
    pub(crate) fn new(router: &str, policy: Policy, clock: Clock) -> Self {
        Self {
            router: router.to_owned(),
            policy: Arc::new(policy),
            clock,
            endorsements: Endorsements::new(),
            endorser: None,
            memory: None,
            authorization: None,
            authorities: Authorities::mozilla(),
            candidates_max: CANDIDATES_DEFAULT,
            timeouts: Timeouts::default(),
            tenant: None,
        }
    }

    /// Endorsements to use beside those in the evidence.
    #[must_use]
    pub fn endorsements(self, endorsements: Endorsements) -> Self {
        Self { endorsements, ..self }
    }

    /// Who finds what vendors say of their hardware, where evidence lacks it; nobody unless given.
    #[must_use]
    pub fn endorser(self, endorser: Arc<dyn Endorser>) -> Self {
        Self { endorser: Some(endorser), ..self }
    }

    /// The memory that refuses older policies and revocation lists.
    #[must_use]
    pub fn memory(self, memory: Memory) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// The bearer token for the router alone: it goes with every request to it and is never sealed
    /// (`docs/protocol.md` §5.4).
    #[must_use]
    pub fn authorization(self, token: Secret<String>) -> Self {
        Self { authorization: Some(token), ..self }
    }

    /// Who may vouch for the name of an `https` router, in place of the public authorities.
    #[must_use]
    pub fn authorities(self, authorities: Authorities) -> Self {
        Self { authorities, ..self }
    }

    /// How many enclaves to draw at random and verify, 4 to 8 (`docs/protocol.md` §5.3).
    #[must_use]
    pub fn candidates(self, count: usize) -> Self {
        Self { candidates_max: count.clamp(CANDIDATES_MIN, CANDIDATES_MAX), ..self }
    }

    /// How long to wait.
    #[must_use]
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// What enclaves tell tenants apart by; without it, random for each client.
    #[must_use]
    pub fn tenant(self, tenant: Secret<[u8; 32]>) -> Self {
        Self { tenant: Some(tenant), ..self }
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    /// A router's address that this release does not talk to, a policy older than the memory knows,
    /// a token that fits no header, or no randomness.
    pub fn build(self) -> Result<Client, Error> {
        let router = match RouterUrl::parse(&self.router) {
            Ok(router) => router,
            // For a policy with its own anchors a host elsewhere is the graver reason, TLS or not.
            Err(_)
                if self.policy.anchors() == AnchorKind::Untrusted && is_elsewhere(&self.router) =>
            {
                return Err(Error::UntrustedAnchors);
            }
            Err(error) => return Err(error),
        };
        if self.policy.anchors() == AnchorKind::Untrusted && !router.is_here {
            return Err(Error::UntrustedAnchors);
        }
        if let Some(memory) = &self.memory {
            memory.check_policy(self.policy.name(), self.policy.version())?;
            memory.raise_floor(self.policy.name(), self.policy.min_version())?;
        }
        let tenant = match self.tenant {
            Some(tenant) => tenant,
            None => Secret::new(random::bytes()?),
        };
        Client::assemble(Self { tenant: None, ..self }, router, tenant)
    }
}

/// Reads a policy file and the anchors that it names, which are relative to it.
///
/// # Errors
/// A file that cannot be read, or a policy that does not parse.
pub fn load_policy(path: &Path) -> Result<Policy, PolicyUnusable> {
    load_policy_files(path, None).map(|files| files.policy)
}

/// Reads the text of a policy file.
///
/// # Errors
/// A file that cannot be read, is too long, or is not UTF-8.
pub fn read_policy(path: &Path) -> Result<String, PolicyUnusable> {
    let unusable = |why| PolicyUnusable { path: path.display().to_string(), why };
    let bytes = read_bounded(path).map_err(|why| unusable(Unusable::Unreadable(why)))?;
    String::from_utf8(bytes).map_err(|_| unusable(Unusable::Malformed("is not UTF-8".to_owned())))
}

/// Reads the anchors that the policy in the file `policy` names.
pub fn anchor_reader(policy: &Path) -> impl Fn(&str) -> Result<Vec<u8>, String> {
    let folder = policy.parent().unwrap_or(Path::new(".")).to_owned();
    move |name| read_bounded(&folder.join(name))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let limit = POLICY_LEN_MAX.saturating_add(1);
    let len = file.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(len).unwrap_or(u64::MAX) > POLICY_LEN_MAX {
        return Err("is longer than any policy or anchor".to_owned());
    }
    Ok(bytes)
}

/// A policy file that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyUnusable {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub why: Unusable,
}

/// What is wrong with a policy file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unusable {
    /// It cannot be read.
    Unreadable(String),
    /// It can, and is no policy.
    Malformed(String),
    /// A signature was demanded, and there is none of the key that was named.
    NotSigned(String),
    /// That key's owner signed something else.
    SignatureInvalid(String),
}

impl fmt::Display for PolicyUnusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Unusable::Unreadable(why)
        | Unusable::Malformed(why)
        | Unusable::NotSigned(why)
        | Unusable::SignatureInvalid(why)) = &self.why;
        write!(f, "{}: {why}", self.path)
    }
}

impl std::error::Error for PolicyUnusable {}

const NOT_LOOPBACK: &str = "is not on this machine; other hosts need TLS, that is https://";
const NO_SCHEME: &str = "does not start with https:// or http://";

/// Fewest candidates to draw (`docs/protocol.md` §5.3).
const CANDIDATES_MIN: usize = 4;

/// Most candidates to draw (`docs/protocol.md` §5.3).
const CANDIDATES_MAX: usize = 8;

/// How many are drawn unless the caller says otherwise: the fewest that the protocol wants.
const CANDIDATES_DEFAULT: usize = CANDIDATES_MIN;

/// Longest policy or anchor: a policy with a thousand measurements is under it.
const POLICY_LEN_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_https_for_everywhere() {
        for (url, expected) in [
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("http://127.0.0.1:8080/", Some("http://127.0.0.1:8080")),
            ("http://127.9.9.9", Some("http://127.9.9.9:80")),
            ("http://localhost:1", Some("http://127.0.0.1:1")),
            ("http://LOCALHOST:1", Some("http://127.0.0.1:1")),
            ("http://[::1]:1", Some("http://[::1]:1")),
            ("https://127.0.0.1", Some("https://127.0.0.1:443")),
            ("https://Router.Example/", Some("https://router.example:443")),
            ("https://router.example:8443", Some("https://router.example:8443")),
            ("https://localhost:1", Some("https://localhost:1")),
            ("https://[2001:db8::1]", Some("https://[2001:db8::1]:443")),
            ("https://router.example:65536", None),
            ("https://router.example/v1", None),
            ("https://user@router.example", None),
            ("https://", None),
            ("http://127.0.0.1:65536", None),
            ("http://127.0.0.1:", None),
            ("http://[::1]", Some("http://[::1]:80")),
            ("http://0.0.0.0:1", None),
            ("http://[::]:1", None),
            ("http://[::ffff:127.0.0.1]:1", None),
            ("http://localhost.:1", None),
            ("http://10.0.0.1:8080", None),
            ("http://router.example", None),
            ("http://localhost.example", None),
            ("http://127.0.0.1:8080/v1", None),
            ("http://127.0.0.1:8080/?a", None),
            ("http://127.0.0.1@10.0.0.1", None),
            ("http://user@127.0.0.1", None),
            ("http://2130706433", None),
            ("127.0.0.1:8080", None),
            ("ftp://127.0.0.1", None),
            ("", None),
        ] {
            let parsed = RouterUrl::parse(url).map(|url| url.to_string());
            assert_eq!(parsed.ok().as_deref(), expected, "{url}");
        }
        for (url, expected) in [
            ("https://router.example", true),
            ("http://10.0.0.1", true),
            ("https://127.0.0.1", false),
            ("http://localhost/path", false),
            ("nonsense", false),
            ("", false),
        ] {
            assert_eq!(is_elsewhere(url), expected, "{url}");
        }
        for (url, expected) in [
            ("https://router.example", false),
            ("https://10.0.0.1", false),
            // Somebody's resolver says where that is.
            ("https://localhost", false),
            ("https://127.0.0.1", true),
            ("https://[::1]:1", true),
            ("http://localhost", true),
        ] {
            assert_eq!(RouterUrl::parse(url).unwrap().is_here, expected, "{url}");
        }
        let error = RouterUrl::parse("http://10.0.0.1").unwrap_err();
        assert_eq!((error.code(), error.family().exit_code()), ("router-url", 2));
        assert!(error.to_string().contains("TLS"));
    }
}
