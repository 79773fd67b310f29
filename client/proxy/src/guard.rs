//! Who is answered at all.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority};

use crate::problem::Problem;

/// The origins that were allowed by name.
#[derive(Debug)]
pub(crate) struct Guard {
    allowed_origins: Vec<String>,
}

impl Guard {
    pub(crate) const fn new(allowed_origins: Vec<String>) -> Self {
        Self { allowed_origins }
    }

    /// The request's origin, if it has one and it may ask.
    fn admit(&self, request: &Request) -> Result<Option<HeaderValue>, Problem> {
        let headers = request.headers();
        let host = only(headers, &header::HOST).ok_or(Problem::Host)?;
        if !is_loopback(host) {
            return Err(Problem::Host);
        }
        // A request line with an address of its own must not contradict the header.
        if request.uri().authority().is_some_and(|authority| !is_loopback(authority.as_str())) {
            return Err(Problem::Host);
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin = origins.next().cloned();
        if origins.next().is_some() {
            return Err(Problem::Origin);
        }
        match origin {
            Some(origin) if !self.allows(&origin) => Err(Problem::Origin),
            // An image or a script of a page has no origin; what browsers say of it is where it is from.
            None if !is_own_site(headers) => Err(Problem::CrossSite),
            origin => Ok(origin),
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        // That is no name: any page can put itself into a frame that has it (HTML §7.1.1).
        origin.as_bytes() != b"null"
            && self.allowed_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
    }
}

/// Refuses what must not be answered; the rest goes on.
pub(crate) async fn check(guard: Arc<Guard>, request: Request, next: Next) -> Response {
    let admitted = guard.admit(&request);
    let mut response = match &admitted {
        Err(problem) => refusal(problem),
        Ok(Some(_)) if request.method() == Method::OPTIONS => preflight(),
        Ok(_) if request.method() == Method::POST && !is_json(request.headers()) => {
            Problem::MediaType.into_response()
        }
        Ok(_) => next.run(request).await,
    };
    let headers = response.headers_mut();
    // For browsers that do not say where a request is from: no page may use this as its own.
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(Some(origin)) = admitted {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("x-veritee-node, x-veritee-verdict"),
        );
    }
    response
}

/// Who may not ask holds no connection either: there are only so many of them.
fn refusal(problem: &Problem) -> Response {
    let mut response = problem.clone().into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What a browser asks before a page of an allowed origin may send JSON.
fn preflight() -> Response {
    let allow = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*, authorization"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, allow).into_response()
}

/// Whether no browser says that another site asks (Fetch Metadata, `Sec-Fetch-Site`).
///
/// Who types an address has `none`; what is no browser says nothing.
fn is_own_site(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    match (sites.next(), sites.next()) {
        (None, _) => true,
        (Some(site), None) => site == "none" || site == "same-origin",
        (Some(_), Some(_)) => false,
    }
}

/// Whether the body says that it is JSON, in no coding that would have to be undone.
fn is_json(headers: &HeaderMap) -> bool {
    let media_type = only(headers, &header::CONTENT_TYPE).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        && !headers.contains_key(header::CONTENT_ENCODING)
}

fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether a `Host` names this machine. What another name resolves to is somebody else's to say.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    !authority.as_str().contains('@')
        && (host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn admit(headers: &[(&str, &str)]) -> Result<Option<HeaderValue>, Problem> {
        let mut request = Request::builder().uri("/v1/models");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let guard = Guard::new(vec!["http://localhost:3000".to_owned()]);
        guard.admit(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn only_a_loopback_host_is_answered() {
        for host in ["127.0.0.1", "127.0.0.1:8700", "localhost:1", "LocalHost", "[::1]:8700"] {
            assert!(admit(&[("host", host)]).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "a@127.0.0.1",
        ] {
            assert_eq!(admit(&[("host", host)]), Err(Problem::Host), "{host}");
        }
        assert_eq!(admit(&[]), Err(Problem::Host));
        assert_eq!(admit(&[("host", "127.0.0.1"), ("host", "evil.example")]), Err(Problem::Host));
    }

    #[test]
    fn only_origins_that_were_named_may_ask() {
        let host = ("host", "127.0.0.1");
        assert!(admit(&[host, ("origin", "http://localhost:3000")]).is_ok());
        for origin in
            ["null", "http://localhost:3001", "https://localhost:3000", "http://127.0.0.1"]
        {
            assert_eq!(admit(&[host, ("origin", origin)]), Err(Problem::Origin), "{origin}");
        }
        let twice = [host, ("origin", "http://localhost:3000"), ("origin", "null")];
        assert_eq!(admit(&twice), Err(Problem::Origin));
    }

    #[test]
    fn an_origin_that_is_none_cannot_be_allowed() {
        let guard = Guard::new(vec!["null".to_owned()]);
        let request = Request::builder().header("host", "127.0.0.1").header("origin", "null");
        assert_eq!(guard.admit(&request.body(Body::empty()).unwrap()), Err(Problem::Origin));
    }

    #[test]
    fn what_a_browser_says_comes_from_another_site_is_refused() {
        let host = ("host", "127.0.0.1");
        let site = |site| ("sec-fetch-site", site);
        for own in ["none", "same-origin"] {
            assert_eq!(admit(&[host, site(own)]), Ok(None), "{own}");
        }
        for other in ["cross-site", "same-site", "", "None", "none, cross-site"] {
            assert_eq!(admit(&[host, site(other)]), Err(Problem::CrossSite), "{other}");
        }
        assert_eq!(admit(&[host, site("none"), site("none")]), Err(Problem::CrossSite));
        let allowed = ("origin", "http://localhost:3000");
        assert!(admit(&[host, allowed, site("same-site")]).is_ok());
        assert!(admit(&[host, allowed, site("cross-site")]).is_ok());
    }

    #[test]
    fn only_json_is_taken() {
        for (media_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
            assert_eq!(is_json(&headers), expected, "{media_type}");
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            assert!(!is_json(&headers));
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
