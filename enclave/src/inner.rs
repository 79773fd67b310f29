//! What is inside a sealed request: which binding, whose, which resource, asking what.

use attestation::digest::hex_array;
use attestation::receipt::Parameters;
use attestation::{BindingId, Digest, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use channel::{Fields, Request, names};

use crate::config::Unbound;
use crate::keys::random;
use crate::openai::{ApiError, ChatRequest, CompletionRequest, EmbeddingRequest};

/// A sealed request, read as far as it goes.
#[derive(Debug)]
pub(crate) struct Inner {
    /// What it asks for, or why it is refused, inside the seal.
    pub(crate) ask: Result<Ask, ApiError>,
    /// Whether it names the binding of the key that it was sealed to.
    pub(crate) bound: bool,
    /// Octets of the message before its padding; all of them where it is no message.
    pub(crate) message_len: usize,
    /// Its content; nothing where it is no message.
    pub(crate) content: Secret<Vec<u8>>,
}

/// What may be asked for (`docs/protocol.md` §5.4).
#[derive(Debug)]
pub(crate) enum Ask {
    /// `POST /v1/chat/completions`.
    Chat {
        /// The request.
        request: Box<ChatRequest>,
        /// Whose it is, as far as isolation and fairness go.
        tenant: [u8; 32],
    },
    /// `POST /v1/completions`.
    Completion {
        /// The request.
        request: Box<CompletionRequest>,
        /// Whose it is, as far as isolation and fairness go.
        tenant: [u8; 32],
    },
    /// `POST /v1/embeddings`.
    Embedding {
        /// The request.
        request: EmbeddingRequest,
        /// Whose it is, as far as isolation and fairness go.
        tenant: [u8; 32],
    },
    /// `GET /v1/models`.
    Models,
}

impl Ask {
    /// What the receipt's `par_mac` commits to.
    pub(crate) fn parameters(&self) -> Option<&Parameters> {
        match self {
            Self::Chat { request, .. } => Some(&request.asked.parameters),
            Self::Completion { request, .. } => Some(&request.asked.parameters),
            Self::Embedding { .. } | Self::Models => None,
        }
    }
}

/// What a request must be addressed to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address<'a> {
    /// `{node_id}.veritee.invalid`.
    pub(crate) authority: &'a str,
    /// The binding of the key that the request was sealed to.
    pub(crate) binding: BindingId,
    /// Whether it may name none.
    pub(crate) unbound: Unbound,
    /// The model's names.
    pub(crate) names: &'a [String],
}

impl Inner {
    /// Reads the plaintext of a request.
    pub(crate) fn read(plaintext: &[u8], address: &Address<'_>) -> Self {
        let Ok(parsed) = Request::parse(plaintext) else {
            let why = "The sealed request is not Binary HTTP.";
            let ask = Err(ApiError::invalid(why));
            let content = Secret::new(Vec::new());
            return Self { ask, bound: false, message_len: plaintext.len(), content };
        };
        let (request, message_len) = (parsed.request, parsed.message_len);
        let (ask, bound) = match binding(&request, address) {
            Ok(bound) => (ask(&request, address), bound),
            Err(error) => (Err(error), false),
        };
        Self { ask, bound, message_len, content: request.content }
    }
}

/// Whether the request names the binding of its key; an error if it names another, or must.
fn binding(request: &Request, address: &Address<'_>) -> Result<bool, ApiError> {
    if request.scheme != "https" || request.authority != address.authority {
        return Err(ApiError::misdirected());
    }
    match (only(&request.fields, names::BINDING)?, address.unbound) {
        (Some(named), _) => {
            let named = hex_array(names::BINDING, named).ok().map(Digest);
            if named.is_some_and(|named| named.ct_eq(&address.binding.0)) {
                Ok(true)
            } else {
                let why =
                    "The request names a binding that is not live for the key it is sealed to.";
                Err(ApiError::binding(why))
            }
        }
        (None, Unbound::Allowed) => Ok(false),
        (None, Unbound::Refused) => {
            Err(ApiError::binding("This enclave takes only requests that name its binding."))
        }
    }
}

fn ask(request: &Request, address: &Address<'_>) -> Result<Ask, ApiError> {
    match (request.path.as_str(), request.method.as_str()) {
        ("/v1/chat/completions", "POST") => chat(request, address),
        ("/v1/completions", "POST") => completion(request, address),
        ("/v1/embeddings", "POST") => embedding(request, address),
        ("/v1/models", "GET") => Ok(Ask::Models),
        ("/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" | "/v1/models", _) => {
            Err(ApiError::method_not_allowed())
        }
        _ => Err(ApiError::not_found()),
    }
}

fn chat(request: &Request, address: &Address<'_>) -> Result<Ask, ApiError> {
    let tenant = taken(request)?;
    let request = ChatRequest::parse(request.content.expose())?;
    served(&request.asked.parameters.model, address)?;
    Ok(Ask::Chat { request: Box::new(request), tenant })
}

fn completion(request: &Request, address: &Address<'_>) -> Result<Ask, ApiError> {
    let tenant = taken(request)?;
    let request = CompletionRequest::parse(request.content.expose())?;
    served(&request.asked.parameters.model, address)?;
    Ok(Ask::Completion { request: Box::new(request), tenant })
}

fn embedding(request: &Request, address: &Address<'_>) -> Result<Ask, ApiError> {
    let tenant = taken(request)?;
    let request = EmbeddingRequest::parse(request.content.expose())?;
    served(&request.model, address)?;
    Ok(Ask::Embedding { request, tenant })
}

fn served(model: &String, address: &Address<'_>) -> Result<(), ApiError> {
    let is_served = address.names.contains(model);
    is_served.then_some(()).ok_or_else(ApiError::model_not_found)
}

/// Whose a request is that says that it is JSON.
fn taken(request: &Request) -> Result<[u8; 32], ApiError> {
    let media = only(&request.fields, "content-type")?.unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::media_type());
    }
    tenant(&request.fields)
}

/// 32 octets in hex or base64url; a fresh tenant for a request that names none.
fn tenant(fields: &Fields) -> Result<[u8; 32], ApiError> {
    let Some(named) = only(fields, names::TENANT)? else { return Ok(random()) };
    let from_hex = || hex_array(names::TENANT, named).ok();
    let from_base64 = || URL_SAFE_NO_PAD.decode(named).ok()?.try_into().ok();
    from_hex().or_else(from_base64).ok_or_else(|| {
        ApiError::invalid("The field 'veritee-tenant' is not 32 bytes in hex or base64url.")
    })
}

/// The value of a field that may occur once.
fn only<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a str>, ApiError> {
    let bad = || ApiError::invalid("A field of the sealed request is repeated, or not text.");
    let value = fields.only(name).map_err(|_| bad())?;
    value.map(|value| std::str::from_utf8(value).map_err(|_| bad())).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: BindingId = BindingId(Digest([7; 32]));
    const JSON: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

    fn read(unbound: Unbound, edit: impl FnOnce(&mut Request)) -> Inner {
        let fields = Fields::new()
            .with("content-type", "application/json")
            .and_then(|fields| fields.with(names::BINDING, BINDING.to_string()))
            .unwrap();
        let mut request = Request {
            method: "POST".to_owned(),
            scheme: "https".to_owned(),
            authority: "node.veritee.invalid".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            fields,
            content: Secret::new(JSON.as_bytes().to_vec()),
            trailers: Fields::new(),
        };
        edit(&mut request);
        let names = ["m".to_owned()];
        let address =
            Address { authority: "node.veritee.invalid", binding: BINDING, unbound, names: &names };
        let mut plaintext = request.encode().expose().clone();
        plaintext.resize(1024, 0);
        Inner::read(&plaintext, &address)
    }

    fn code(inner: &Inner) -> (u16, Option<&'static str>) {
        inner.ask.as_ref().map_or_else(|error| (error.status, error.code()), |_| (200, None))
    }

    #[test]
    fn good_request_is_bound_and_its_padding_is_not_part_of_it() {
        let inner = read(Unbound::Refused, |_| {});
        assert!(inner.bound && matches!(inner.ask, Ok(Ask::Chat { .. })));
        assert!(inner.message_len < 400);
        let models = read(Unbound::Refused, |request| {
            request.method = "GET".to_owned();
            request.path = "/v1/models".to_owned();
        });
        assert!(matches!(models.ask, Ok(Ask::Models)));
        let completion = read(Unbound::Refused, |request| {
            request.path = "/v1/completions".to_owned();
            request.content = Secret::new(br#"{"model":"m","prompt":"hi"}"#.to_vec());
        });
        assert!(matches!(completion.ask, Ok(Ask::Completion { .. })));
        let embedding = read(Unbound::Refused, |request| {
            request.path = "/v1/embeddings".to_owned();
            request.content = Secret::new(br#"{"model":"m","input":"hi"}"#.to_vec());
        });
        assert!(matches!(embedding.ask, Ok(Ask::Embedding { .. })));
    }

    #[test]
    fn each_other_address_and_resource_is_refused_for_its_reason() {
        type Edit = fn(&mut Request);
        let cases: [(Edit, u16, Option<&str>); 13] = [
            (|r| r.path = "/v1/other".into(), 404, Some("not_found")),
            (|r| r.path = "/v1/chat/completions?x".into(), 404, Some("not_found")),
            // A chat is no completion.
            (|r| r.path = "/v1/completions".into(), 400, Some("unknown_parameter")),
            (|r| r.path = "/v1/embeddings".into(), 400, Some("unknown_parameter")),
            (|r| r.method = "GET".into(), 405, Some("method_not_allowed")),
            (|r| r.method = "DELETE".into(), 405, Some("method_not_allowed")),
            (|r| r.scheme = "http".into(), 421, Some("misdirected_request")),
            (|r| r.authority = "other.veritee.invalid".into(), 421, Some("misdirected_request")),
            (|r| r.fields = Fields::new(), 421, Some("binding_mismatch")),
            (|r| r.fields = bound(&BINDING.to_string()), 415, Some("unsupported_media_type")),
            (|r| r.fields = bound(&"00".repeat(32)), 421, Some("binding_mismatch")),
            (|r| r.fields = bound("nonsense"), 421, Some("binding_mismatch")),
            (
                |r| r.content = Secret::new(JSON.replace("\"m\"", "\"other\"").into_bytes()),
                404,
                Some("model_not_found"),
            ),
        ];
        for (index, (edit, status, expected)) in cases.into_iter().enumerate() {
            let inner = read(Unbound::Refused, edit);
            assert_eq!(code(&inner), (status, expected), "case {index}");
        }
    }

    #[test]
    fn unbound_request_needs_leave_and_a_wrong_binding_never_passes() {
        let bare = |request: &mut Request| {
            request.fields = Fields::new().with("content-type", "application/json").unwrap();
        };
        assert_eq!(code(&read(Unbound::Refused, bare)).0, 421);
        let inner = read(Unbound::Allowed, bare);
        assert!(inner.ask.is_ok() && !inner.bound);
        let wrong = |request: &mut Request| request.fields = bound(&"00".repeat(32));
        assert_eq!(code(&read(Unbound::Allowed, wrong)).0, 421);
        let twice = |request: &mut Request| {
            request.fields.push(names::BINDING, BINDING.to_string()).unwrap();
        };
        assert_eq!(code(&read(Unbound::Allowed, twice)).0, 400);
    }

    #[test]
    fn tenant_is_what_the_field_says_and_else_fresh() {
        let ours = |text: &str| tenant(&Fields::new().with(names::TENANT, text).unwrap());
        assert_eq!(ours(&"ab".repeat(32)).unwrap(), [0xab; 32]);
        assert_eq!(ours(&URL_SAFE_NO_PAD.encode([0xab; 32])).unwrap(), [0xab; 32]);
        for bad in ["", "ab", &"ab".repeat(33), &"zz".repeat(32)] {
            assert_eq!(ours(bad).unwrap_err().status, 400, "{bad}");
        }
        let fresh = || tenant(&Fields::new()).unwrap();
        assert_ne!(fresh(), fresh());
    }

    #[test]
    fn garbage_is_an_error_inside_the_seal() {
        let names = [];
        let address =
            Address { authority: "a", binding: BINDING, unbound: Unbound::Allowed, names: &names };
        let inner = Inner::read(&[9; 100], &address);
        assert_eq!((code(&inner).0, inner.message_len, inner.bound), (400, 100, false));
    }

    fn bound(binding: &str) -> Fields {
        Fields::new().with(names::BINDING, binding).unwrap()
    }
}
