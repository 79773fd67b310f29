//! One request, from its body to its answer.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use attestation::{Endorsements, Evidence, Unverified};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};
use verifier::ear::{self, VerifierId};
use verifier::{Expectation, Report, appraise_with};

use crate::jws;
use crate::problem::Problem;
use crate::state::Service;

/// The body of `POST /v1/appraise`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'a> {
    /// The name of a policy.
    #[serde(borrow)]
    policy: Cow<'a, str>,
    /// JSON evidence as it is, or any other in base64 or hex.
    #[serde(borrow)]
    evidence: &'a RawValue,
    /// What counts beside the evidence: PEM, or JSON as its vendor gives it.
    #[serde(borrow, default, deserialize_with = "few")]
    endorsements: Vec<&'a RawValue>,
    /// The challenge that the evidence answers, in hex.
    #[serde(borrow)]
    challenge: Option<Cow<'a, str>>,
    /// The 64 bytes that raw vendor evidence carries, in hex.
    #[serde(borrow)]
    report_data: Option<Cow<'a, str>>,
}

/// A list that is given up where it gets longer than any: a reference takes more memory than the
/// three octets of what it may refer to.
fn few<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<&'de RawValue>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {ENDORSEMENTS_MAX}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = list.next_element()? {
                if all.len() >= ENDORSEMENTS_MAX {
                    return Err(de::Error::invalid_length(all.len().saturating_add(1), &self));
                }
                all.push(item);
            }
            Ok(all)
        }
    }
    list.deserialize_seq(Few)
}

/// What a caller takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// The token and the report.
    Both,
    /// The token alone.
    Token,
}

/// The body of an answer with both.
#[derive(Serialize)]
struct Answer<'a> {
    ear: &'a str,
    report: &'a Report,
}

/// Answers `POST /v1/appraise`.
pub(crate) async fn post(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Response, Problem> {
    if service.is_draining() {
        return Err(Problem::Draining);
    }
    let form = form(request.headers())?;
    check_type(request.headers())?;
    let place = Arc::clone(&service.places).try_acquire_owned().map_err(|_| Problem::Busy)?;
    let body = read(&service, request).await?;
    let began = Instant::now();
    // Where it is: a verdict takes a fraction of a millisecond, and at most ten of them for a
    // megabyte of somebody's worst, which is less than handing it to another thread and back under
    // load. The places bound how many there are.
    let answer = judge(&service, &body, form);
    service.metrics.took(began.elapsed());
    drop(place);
    answer
}

/// The whole body, if it is short and comes in time.
async fn read(service: &Service, request: Request) -> Result<Bytes, Problem> {
    let len_max = service.config.limits.body_bytes_max;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|len| usize::try_from(len).map_or(true, |len| len > len_max)) {
        return Err(Problem::TooLarge);
    }
    let body = Limited::new(request.into_body(), len_max).collect();
    match timeout(service.config.timeouts.upload, body).await {
        Err(_) => Err(Problem::UploadSlow),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::TooLarge),
        Ok(Err(_)) => Err(Problem::Request("The body broke off.".to_owned())),
        Ok(Ok(body)) => Ok(body.to_bytes()),
    }
}

/// The verdict, signed.
fn judge(service: &Service, body: &[u8], form: Form) -> Result<Response, Problem> {
    let asked: Asked<'_> = serde_json::from_slice(body)
        .map_err(|error| Problem::Request(format!("The body is not a request: {error}.")))?;
    let policy = service.policies.named(&asked.policy).ok_or(Problem::UnknownPolicy)?;
    let evidence = Unverified::new(Evidence::from_wire(content(asked.evidence, "evidence")?));
    let endorsements = given(service, &asked.endorsements)?;
    let mut expectation = match &asked.challenge {
        Some(challenge) => Expectation::challenged(parse("challenge", challenge)?),
        None => Expectation::cached(),
    };
    if let Some(report_data) = &asked.report_data {
        expectation = expectation.with_report_data(parse("report_data", report_data)?);
    }
    let now = service.clock.now();
    let outcome =
        appraise_with(&service.chains, &policy, &evidence, &endorsements, &expectation, now);
    let report = match &outcome {
        Ok(result) => result.report(),
        Err(refused) => refused.report(),
    };
    service.metrics.judged(report);

    let verifier = VerifierId { developer: &service.config.signing.developer, build: BUILD };
    let claims = ear::to_json(&outcome, &expectation, verifier).map_err(|_| Problem::Bug)?;
    let keys = service.keys();
    let token = jws::sign(&keys.signing, &claims).map_err(|_| Problem::Bug)?;
    let (body, media_type) = match form {
        Form::Token => (token.into_bytes(), TOKEN_TYPE),
        Form::Both => {
            // The report says about as much as the token.
            let mut answer = Vec::with_capacity(token.len().saturating_mul(2));
            serde_json::to_writer(&mut answer, &Answer { ear: &token, report })
                .map_err(|_| Problem::Bug)?;
            (answer, JSON)
        }
    };
    let mut response = Body::from(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What the request brings, and what the service has.
fn given(service: &Service, asked: &[&RawValue]) -> Result<Arc<Unverified<Endorsements>>, Problem> {
    let own = service.endorsements();
    if asked.is_empty() {
        return Ok(own);
    }
    let refused = |error| Problem::Endorsements(format!("The endorsements are refused: {error}."));
    let mut all = Endorsements::new();
    for item in asked {
        all.add(&content(item, "endorsements")?).map_err(refused)?;
    }
    all.extend(own.inspect_untrusted()).map_err(refused)?;
    Ok(Arc::new(Unverified::new(all)))
}

/// The bytes that a member stands for: JSON as it is, a string's text as it reads.
fn content(value: &RawValue, name: &str) -> Result<Vec<u8>, Problem> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{' | b'[') => Ok(text.as_bytes().to_vec()),
        Some(b'"') => {
            let text: String = serde_json::from_str(text)
                .map_err(|_| Problem::Request(format!("`{name}` is no text.")))?;
            Ok(text.into_bytes())
        }
        _ => Err(Problem::Request(format!("`{name}` is neither text, nor an object, nor a list."))),
    }
}

fn parse<T: FromStr<Err = attestation::Malformed>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error| Problem::Request(format!("`{name}`: {error}.")))
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.and_then(|value| value.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case(JSON)) {
        Ok(())
    } else {
        Err(Problem::MediaType)
    }
}

/// The first type among those that the caller takes that is one of ours.
fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let mut accepts = headers.get_all(header::ACCEPT).iter().peekable();
    if accepts.peek().is_none() {
        return Ok(Form::Both);
    }
    let types = accepts.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut essences = types.map(|part| part.split(';').next().unwrap_or_default().trim());
    let form = essences.find_map(|essence| match essence.to_ascii_lowercase().as_str() {
        "*/*" | "application/*" | JSON => Some(Form::Both),
        "application/eat+jwt" | "application/jwt" => Some(Form::Token),
        _ => None,
    });
    form.ok_or(Problem::NotAcceptable)
}

/// Endorsements of one request: as many as one verdict can take, each alone.
const ENDORSEMENTS_MAX: usize = 512;

const JSON: &str = "application/json";

/// RFC 9782 §5, with the profile of [`ear::PROFILE`].
const TOKEN_TYPE: &str = "application/eat+jwt; eat_profile=\"tag:ietf.org,2026:rats/ear#04\"";

/// `ear_verifier_id.build`.
const BUILD: &str = concat!("veritee-verifier ", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_names_the_profile() {
        assert!(TOKEN_TYPE.ends_with(&format!("eat_profile=\"{}\"", ear::PROFILE)));
    }

    #[test]
    fn the_first_type_that_is_ours_counts() {
        for (accept, expected) in [
            (None, Some(Form::Both)),
            (Some("*/*"), Some(Form::Both)),
            (Some("application/json"), Some(Form::Both)),
            (Some("application/eat+jwt"), Some(Form::Token)),
            (Some("text/html, Application/EAT+JWT;q=0.9, */*;q=0.1"), Some(Form::Token)),
            (Some("application/json, application/eat+jwt"), Some(Form::Both)),
            (Some("text/html"), None),
            (Some(""), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(form(&headers).ok(), expected, "{accept:?}");
        }
    }
}
