//! HTTP as octets, for what no HTTP library would write, and for seeing what one would hide.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// A request, read off the wire.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, which has to state its length.
    pub body: Bytes,
}

/// An answer, as far as it came.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The status; 0 where there was no status line, [`SILENT`] where nothing came to an end.
    pub status: u16,
    /// Status line and headers, in small letters.
    pub head: String,
    /// The body without its transfer coding.
    pub body: Vec<u8>,
    /// Whether the body ended where it said that it would.
    pub complete: bool,
    /// Everything as it came.
    pub octets: Vec<u8>,
}

impl Asked {
    /// Reads one request; none where the connection ends before it does.
    pub async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut octets = Vec::new();
        let end = loop {
            if let Some(end) = head_end(&octets) {
                break end;
            }
            more(stream, &mut octets).await.ok()?;
        };
        let head = String::from_utf8(octets[..end].to_vec()).ok()?;
        let mut lines = head.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, path) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
        }
        let length = headers.get("content-length").map_or(Some(0), |value| {
            value.to_str().ok().and_then(|text| text.parse::<usize>().ok())
        })?;
        let end = end.saturating_add(length);
        while octets.len() < end {
            more(stream, &mut octets).await.ok()?;
        }
        let body = Bytes::from(octets.split_off(end.saturating_sub(length)));
        Some(Self { method, path, headers, body })
    }
}

impl Heard {
    /// Takes an answer apart. Informational answers before it are passed over.
    pub fn parse(octets: &[u8]) -> Self {
        let mut rest = octets;
        loop {
            let Some(end) = head_end(rest) else {
                return Self { octets: octets.to_vec(), ..Self::default() };
            };
            let (head, body) = rest.split_at(end);
            let head = String::from_utf8_lossy(head).to_lowercase();
            let status: u16 =
                head.split(' ').nth(1).and_then(|word| word.get(..3)?.parse().ok()).unwrap_or(0);
            if (100..200).contains(&status) && status != 101 {
                rest = body;
                continue;
            }
            let length = field(&head, "content-length").and_then(|value| value.parse().ok());
            let (body, complete) = match (field(&head, "transfer-encoding"), length) {
                (Some(_), _) => dechunked(body),
                (None, Some(length)) => {
                    (body[..body.len().min(length)].to_vec(), body.len() >= length)
                }
                (None, None) => (body.to_vec(), matches!(status, 204 | 304)),
            };
            return Self { status, head, body, complete, octets: octets.to_vec() };
        }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of an error object, or of the last event of a stream that is one.
    pub fn code(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.body);
        let last = text.lines().rev().find_map(|line| line.strip_prefix("data: "));
        let object: serde_json::Value = serde_json::from_str(last.unwrap_or(&text)).ok()?;
        object["error"]["code"].as_str().map(str::to_owned)
    }
}

/// Sends octets on a connection of their own and reads until the other side closes it or has said all that it announced.
pub async fn talk(address: SocketAddr, octets: &[u8]) -> Heard {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    talk_on(stream, octets).await.1
}

/// The same on a connection that is there already, which is given back.
pub async fn talk_on(mut stream: TcpStream, octets: &[u8]) -> (TcpStream, Heard) {
    // A server that has heard enough may close while we still talk: what it said counts.
    drop(timeout(PATIENCE, stream.write_all(octets)).await);
    let mut seen = Vec::new();
    loop {
        let heard = Heard::parse(&seen);
        if heard.complete && heard.status != 0 {
            return (stream, heard);
        }
        match timeout(PATIENCE, more(&mut stream, &mut seen)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return (stream, Heard::parse(&seen)),
            Err(_) => return (stream, Heard { status: SILENT, ..Heard::parse(&seen) }),
        }
    }
}

/// A POST of JSON to a path of a server on loopback.
pub fn post_json(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A GET of a path of a server on loopback.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

async fn more(stream: &mut TcpStream, octets: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    let count = stream.read(&mut buffer).await?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    octets.extend_from_slice(&buffer[..count]);
    Ok(())
}

/// Where a head ends, the empty line included.
fn head_end(octets: &[u8]) -> Option<usize> {
    let at = octets.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at.saturating_add(4))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| (found == name).then_some(value.trim()))
}

/// A chunked body, and whether its end was there.
fn dechunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(at) = rest.windows(2).position(|window| window == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&rest[..at]).unwrap_or("?");
        let Ok(size) = usize::from_str_radix(size, 16) else { return (body, false) };
        let data = &rest[at.saturating_add(2)..];
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&data[..size.min(data.len())]);
        let Some(after) = data.get(size.saturating_add(2)..) else { return (body, false) };
        rest = after;
    }
}

/// The status of a connection that was neither answered nor closed.
pub const SILENT: u16 = 1;

/// No server takes longer for anything here: the longest wait is for an upload of 30 seconds.
const PATIENCE: Duration = Duration::from_secs(45);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_answer_is_not_complete() {
        let whole =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        let heard = Heard::parse(whole);
        assert_eq!(
            (heard.status, heard.complete, heard.body.as_slice()),
            (200, true, &b"abcd"[..])
        );
        for end in 0..whole.len().saturating_sub(4) {
            assert!(!Heard::parse(&whole[..end]).complete, "{end}");
        }
        let counted = b"HTTP/1.1 103 x\r\n\r\nHTTP/1.1 404 x\r\ncontent-length: 2\r\n\r\n{}";
        let heard = Heard::parse(counted);
        assert_eq!((heard.status, heard.complete), (404, true));
        assert!(!Heard::parse(&counted[..counted.len().saturating_sub(1)]).complete);
    }

    #[test]
    fn the_code_of_an_error_is_found_in_an_object_and_in_the_last_event() {
        let said = |body: &str| Heard { body: body.as_bytes().to_vec(), ..Heard::default() }.code();
        assert_eq!(said("{\"error\":{\"code\":\"x\"}}").as_deref(), Some("x"));
        assert_eq!(
            said("data: {}\n\ndata: {\"error\":{\"code\":\"y\"}}\n\n").as_deref(),
            Some("y")
        );
        assert_eq!(said("data: {\"error\":{\"code\":\"y\"}}\n\ndata: [DONE]\n\n"), None);
    }
}
