//! One request, sealed to one enclave and sent once (`docs/protocol.md` §5.4).

use std::sync::Arc;

use attestation::Secret;
use channel::{Fields, names};
use http::{HeaderValue, header};

use crate::attest::Enclave;
use crate::config::{Clock, RouterUrl};
use crate::error::Error;
use crate::openai::Request;
use crate::response::Arriving;
use crate::retry::Refusal;
use crate::transport::{Transport, retry_after};

/// What came of sending.
#[derive(Debug)]
pub(crate) enum Sent {
    /// A sealed response is arriving.
    Answered(Box<Arriving>),
    /// An outer answer: a hint, from whoever wrote it.
    Refused(Refusal),
}

/// Seals `request` anew and sends it. The ciphertext exists for this call alone.
pub(crate) async fn send(
    transport: &Transport,
    router: &RouterUrl,
    clock: &Clock,
    enclave: &Arc<Enclave>,
    tenant: &Secret<[u8; 32]>,
    request: &Request,
) -> Result<Sent, Error> {
    let (keys, now) = (enclave.keys(), clock.now());
    let message = inner(enclave, tenant, request)?;
    let (sealed, pending) =
        seal::seal(keys.sealing(), &message, now).map_err(|error| match error {
            seal::SealError::Expired(expired) => expired.into(),
            seal::SealError::TooLong => Error::Request("is longer than a request may be"),
            seal::SealError::Key | _ => Error::Bug("an attested key that one cannot seal to"),
        })?;
    drop(message);
    let uri = router.join(&format!("/v1/nodes/{}/ohttp", enclave.node_id()))?;
    let response = transport.post(uri, sealed.into_bytes()).await?;
    let status = response.status().as_u16();
    let (head, body) = response.into_parts();
    let media_type = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if status != 200 {
        let problem = transport.problem(body).await;
        return Ok(Sent::Refused(Refusal::read(status, &problem, retry_after(&head.headers))));
    }
    if media_type != Some(names::MEDIA_RESPONSE.as_bytes()) {
        return Err(Error::Broken {
            code: "response-not-sealed",
            why: "the answer is not a sealed response".to_owned(),
        });
    }
    let (open, idle) = (pending.open(), transport.idle());
    let arriving = Arriving::new(body, open, idle, Arc::clone(enclave), now);
    Ok(Sent::Answered(Box::new(arriving)))
}

/// The request as the enclave reads it; nothing of the SDK's own headers is in it.
fn inner(
    enclave: &Enclave,
    tenant: &Secret<[u8; 32]>,
    request: &Request,
) -> Result<channel::Request, Error> {
    let fields = Fields::new()
        .with("content-type", "application/json")?
        .with(names::BINDING, enclave.keys().binding_id().to_string())?
        .with(names::TENANT, hex::encode(tenant.expose()))?;
    Ok(channel::Request {
        method: "POST".to_owned(),
        scheme: "https".to_owned(),
        authority: format!("{}.veritee.invalid", enclave.node_id()),
        path: request.endpoint.path().to_owned(),
        fields,
        content: Secret::new(request.body.expose().clone()),
        trailers: Fields::new(),
    })
}
