//! Binary HTTP (RFC 9292): requests whole, responses as they stream, both length forms read.
//!
//! ```text
//! message   = framing ‖ control ‖ headers ‖ content ‖ trailers ‖ padding*
//! framing   = 0 request, 1 response (known length) | 2 request, 3 response (indeterminate length)
//! request   = method, scheme, authority, path, each behind its length
//! response  = { status 1xx ‖ headers }* ‖ status
//! known     = section: len ‖ { name, value }*          content: len ‖ octets
//! indeterm. = section: { name, value }* ‖ 0            content: { len ‖ octets }* ‖ 0
//! padding   = zeros, to the end of the input
//! ```
//!
//! A message may end early where only empty parts would follow (RFC 9292 §3.8). The commitments of a
//! receipt cover the octets before the padding of a request, and before the first octet of the
//! trailer section of a response (`docs/protocol.md` §5.8), so the reader reports both places.

mod fields;
mod reader;
mod request;
mod write;

pub use fields::Fields;
pub use reader::{MessageReader, Part, ResponseEnd, ResponseReader};
pub use request::{Parsed, Request};
pub use write::{content_chunk, content_end, response_head, trailers};
