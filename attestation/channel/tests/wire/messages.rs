//! Binary HTTP: the `bhttp` crate as a second opinion, and bad messages.

use attestation::Secret;
use channel::bhttp::{Part, ResponseReader, content_chunk, content_end, response_head, trailers};
use channel::{Fields, Request};

fn request() -> Request {
    Request {
        method: "POST".to_owned(),
        scheme: "https".to_owned(),
        authority: "abc.veritee.invalid".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        fields: Fields::new().with("content-type", "application/json").unwrap(),
        content: Secret::new(b"{\"model\":\"m\"}".to_vec()),
        trailers: Fields::new().with("digest", "x").unwrap(),
    }
}

/// Status, headers, content, trailers and the octets before the trailers.
#[derive(Debug, Eq, PartialEq)]
struct Read {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    covered: u64,
}

fn pairs(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
}

fn read(bytes: &[u8], step: usize) -> Result<Read, attestation::Malformed> {
    let (mut reader, mut content) = (ResponseReader::new(), Vec::new());
    let (mut status, mut headers) = (0, Vec::new());
    for piece in bytes.chunks(step) {
        reader.push(piece, |part| match part {
            Part::ResponseHead { status: got, fields } => {
                (status, headers) = (got, pairs(&fields));
            }
            Part::Content(octets) => content.extend_from_slice(octets),
            Part::RequestHead { .. } => unreachable!(),
        })?;
    }
    let covered = reader.octets_before_trailers();
    let trailers = pairs(&reader.finish()?.trailers);
    Ok(Read { status, headers, content, trailers, covered })
}

fn response() -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    response_head(200, &Fields::new().with("a", "1").unwrap(), &mut out);
    content_chunk(b"hello ", &mut out);
    content_chunk(&[b'x'; 100], &mut out);
    content_end(&mut out);
    let covered = out.len();
    trailers(&Fields::new().with("t", "2").unwrap(), &mut out);
    (out, covered)
}

#[test]
fn a_request_survives_encoding_and_padding() {
    let encoded = request().encode();
    for padding in [0, 1, 1000] {
        let mut bytes = encoded.expose().clone();
        bytes.resize(bytes.len() + padding, 0);
        let parsed = Request::parse(&bytes).unwrap();
        assert_eq!(parsed.message_len, encoded.expose().len(), "padding {padding} is not content");
        assert_eq!(parsed.request.path, "/v1/chat/completions");
        assert_eq!(parsed.request.authority, "abc.veritee.invalid");
        assert_eq!(parsed.request.content.expose(), request().content.expose());
        assert_eq!(parsed.request.fields, request().fields);
        assert_eq!(parsed.request.trailers, request().trailers);
        bytes.push(1);
        assert!(Request::parse(&bytes).is_err(), "padding is zeros");
    }
}

#[test]
fn the_bhttp_crate_reads_what_we_write() {
    let encoded = request().encode();
    let message = bhttp::Message::read_bhttp(&mut std::io::Cursor::new(encoded.expose())).unwrap();
    assert_eq!(message.control().method(), Some(b"POST".as_slice()));
    assert_eq!(message.control().authority(), Some(b"abc.veritee.invalid".as_slice()));
    assert_eq!(message.control().path(), Some(b"/v1/chat/completions".as_slice()));
    assert_eq!(message.header().get(b"content-type"), Some(b"application/json".as_slice()));
    assert_eq!(message.content(), request().content.expose());
    assert_eq!(message.trailer().get(b"digest"), Some(b"x".as_slice()));

    let message = bhttp::Message::read_bhttp(&mut std::io::Cursor::new(response().0)).unwrap();
    assert_eq!(message.control().status().unwrap().code(), 200);
    assert_eq!(message.content(), [b"hello ".as_slice(), &[b'x'; 100]].concat());
    assert_eq!(message.trailer().get(b"t"), Some(b"2".as_slice()));
}

#[test]
fn we_read_what_the_bhttp_crate_writes_in_both_forms() {
    for mode in [bhttp::Mode::KnownLength, bhttp::Mode::IndeterminateLength] {
        for content in [b"".as_slice(), b"x", &vec![b'y'; 20_000]] {
            for trailer in [None, Some("v")] {
                let mut theirs =
                    bhttp::Message::response(bhttp::StatusCode::try_from(404_u16).unwrap());
                theirs.put_header("content-type", "text/plain");
                theirs.write_content(content);
                if let Some(value) = trailer {
                    theirs.put_trailer("t", value);
                }
                let mut bytes = Vec::new();
                theirs.write_bhttp(mode, &mut bytes).unwrap();
                let ours = read(&bytes, 37).unwrap();
                assert_eq!((ours.status, ours.content.as_slice()), (404, content));
                assert_eq!(ours.headers, [("content-type".to_owned(), b"text/plain".to_vec())]);
                assert_eq!(ours.trailers.len(), usize::from(trailer.is_some()));
            }
        }
        let mut theirs = bhttp::Message::request(
            b"GET".to_vec(),
            b"https".to_vec(),
            b"a".to_vec(),
            b"/v1/models".to_vec(),
        );
        theirs.put_header("accept", "*/*");
        let mut bytes = Vec::new();
        theirs.write_bhttp(mode, &mut bytes).unwrap();
        let ours = Request::parse(&bytes).unwrap().request;
        assert_eq!((ours.method.as_str(), ours.path.as_str()), ("GET", "/v1/models"));
        assert_eq!(ours.fields.only("accept").unwrap(), Some(b"*/*".as_slice()));
    }
}

#[test]
fn a_response_reads_the_same_however_it_arrives() {
    let (bytes, covered) = response();
    let whole = read(&bytes, bytes.len()).unwrap();
    assert_eq!(whole.covered, u64::try_from(covered).unwrap());
    assert_eq!(whole.content.len(), 106);
    for step in 1..40 {
        assert_eq!(read(&bytes, step).unwrap(), whole, "step {step}");
    }
    let padded = [bytes, vec![0; 50]].concat();
    assert_eq!(read(&padded, 3).unwrap(), whole, "zeros after the end are padding");
}

#[test]
fn informational_responses_are_passed_over() {
    let mut bytes = vec![3];
    for _ in 0..3 {
        bytes.extend([0x40, 102, 1, b'a', 1, b'b', 0]);
    }
    bytes.extend([0x40, 200, 0, 2, b'o', b'k', 0, 0]);
    let got = read(&bytes, 2).unwrap();
    assert_eq!((got.status, got.content.as_slice()), (200, b"ok".as_slice()));
    assert!(got.headers.is_empty(), "their fields are not the response's");
    let mut many = vec![3];
    for _ in 0..9 {
        many.extend([0x40, 100, 0]);
    }
    many.extend([0x40, 200, 0, 0, 0]);
    assert!(read(&many, 100).is_err(), "but not without end");
}

#[test]
fn empty_ends_may_be_left_out_and_nothing_else() {
    // RFC 9292 §3.8, for a response with one header.
    let known = [1, 0x40, 200, 4, 1, b'a', 1, b'b'];
    let open = [3, 0x40, 200, 1, b'a', 1, b'b', 0];
    for head in [known.as_slice(), &open] {
        for end in [&[][..], &[0], &[0, 0], &[0, 0, 0, 0]] {
            let got = read(&[head, end].concat(), 1).unwrap();
            assert_eq!((got.status, got.headers.len(), got.content.len()), (200, 1, 0));
        }
        for len in 0..head.len() {
            assert!(read(&head[..len], 1).is_err(), "cut to {len}");
        }
    }
    // Content that was begun has to be ended.
    assert!(read(&[open.as_slice(), &[2, b'o', b'k']].concat(), 1).is_err());
    assert!(read(&[open.as_slice(), &[2, b'o', b'k', 0]].concat(), 1).is_ok());
    assert!(read(&[open.as_slice(), &[2, b'o']].concat(), 1).is_err());
    assert!(read(&[known.as_slice(), &[2, b'o', b'k']].concat(), 1).is_ok());
    // Trailers too.
    assert!(read(&[open.as_slice(), &[0, 1, b't', 1, b'v']].concat(), 1).is_err());
    assert!(read(&[known.as_slice(), &[0, 4, 1, b't', 1]].concat(), 1).is_err());
}

#[test]
fn what_rfc_9292_forbids_is_refused() {
    for (name, bytes) in [
        ("a request", vec![0, 0x40, 200, 0, 0, 0]),
        ("an unknown framing", vec![4, 0x40, 200, 0, 0, 0]),
        ("status 99", vec![1, 0x40, 99, 0, 0, 0]),
        ("status 600", vec![1, 0x42, 0x58, 0, 0, 0]),
        ("upper case", vec![3, 0x40, 200, 1, b'A', 0, 0]),
        ("a pseudo-field", vec![3, 0x40, 200, 2, b':', b'a', 0, 0]),
        ("a line break", vec![3, 0x40, 200, 1, b'a', 2, b'\r', b'\n', 0]),
        ("an empty name in a known section", vec![1, 0x40, 200, 2, 0, 0, 0, 0]),
        ("a section that ends inside a line", vec![1, 0x40, 200, 3, 1, b'a', 1, b'b', 0, 0]),
        ("a line beyond its section", vec![1, 0x40, 200, 3, 1, b'a', 9, b'b', 0, 0, 0, 0, 0]),
        ("a section of 2^62", [vec![1, 0x40, 200], vec![0xff; 8]].concat()),
        ("a name of 2^62", [vec![3, 0x40, 200], vec![0xff; 8]].concat()),
        ("padding of ones", vec![3, 0x40, 200, 0, 0, 0, 1]),
    ] {
        for step in [1, 100] {
            assert!(read(&bytes, step).is_err(), "{name}");
        }
    }
    let mut many = vec![3, 0x40, 200];
    for _ in 0..65 {
        many.extend([1, b'a', 0]);
    }
    many.extend([0, 0, 0]);
    assert!(read(&many, 7).is_err(), "65 lines");
    let long = request_with_path(9000);
    assert!(Request::parse(&long).is_err(), "a path of 9000");
    assert!(Request::parse(&request_with_path(8000)).is_ok());
    let response = Request::parse(&response().0);
    assert!(response.is_err(), "a response is no request");
}

fn request_with_path(len: usize) -> Vec<u8> {
    let request = Request { path: "/".repeat(len), ..request() };
    request.encode().expose().clone()
}

#[test]
fn a_request_is_refused_at_every_cut_but_two() {
    let encoded = request().encode();
    let bytes = encoded.expose();
    let trailers_at = bytes.len() - "digest".len() - 1 - 1 - 1 - 1;
    let content_at = trailers_at - request().content.expose().len() - 1;
    for len in 0..bytes.len() {
        // Before its trailers, and before its content, it is a whole message without them.
        let whole = len == trailers_at || len == content_at;
        assert_eq!(Request::parse(&bytes[..len]).is_ok(), whole, "cut to {len}");
    }
}

#[test]
fn noise_never_panics() {
    let mut state = 1_u64;
    let (response, _) = response();
    for _ in 0..20_000 {
        let mut bytes = response.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let [a, b, ..] = state.to_be_bytes();
            let at = usize::from(a) % bytes.len();
            bytes[at] = b;
        }
        let (whole, pieces) = (read(&bytes, 1000), read(&bytes, 3));
        assert_eq!(whole.is_ok(), pieces.is_ok());
        if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
            assert_eq!(whole, pieces);
        }
    }
}
