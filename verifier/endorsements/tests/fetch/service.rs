//! A service that keeps what it was asked, and answers as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// 200 with these headers and this body.
    Ok(Vec<(&'static str, String)>, Vec<u8>),
    /// A status with these headers, and a body that is none.
    Status(u16, Vec<(&'static str, String)>),
    /// Half of the body that was announced.
    CutOff(Vec<u8>),
    /// A body whose length is not announced, and has no end that anybody waits for.
    Endless,
    /// Nothing, for a long time.
    Silence,
    /// The connection is closed.
    Nothing,
    /// A good answer after a while.
    Late(Duration, Vec<u8>),
}

impl Reply {
    pub(crate) fn body(body: &[u8]) -> Self {
        Self::Ok(Vec::new(), body.to_vec())
    }
}

type Answer = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Mutex<Arc<Answer>>>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Self::unheard(url);
        let ours = service.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let ours = ours.clone();
                tokio::spawn(async move { ours.serve(stream).await });
            }
        });
        service
    }

    /// One that is not listening by itself.
    pub(crate) fn unheard(url: String) -> Self {
        let nothing: Arc<Answer> = Arc::new(|_: &Asked, _| Reply::Status(404, Vec::new()));
        Self { url, asked: Arc::default(), answer: Arc::new(Mutex::new(nothing)) }
    }

    /// From now on answers by `answer`, which is told how many questions came before.
    pub(crate) fn answer(&self, answer: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
        self.asked.lock().unwrap().clear();
    }

    /// From now on always answers so.
    pub(crate) fn always(&self, reply: Reply) {
        self.answer(move |_, _| reply.clone());
    }

    /// What was asked since [`answer`](Self::answer).
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.asked().len()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) {
        let Some(asked) = read(&mut stream).await else { return };
        let before = {
            let mut all = self.asked.lock().unwrap();
            all.push(asked.clone());
            all.len().saturating_sub(1)
        };
        let answer = Arc::clone(&*self.answer.lock().unwrap());
        // A client that is gone is what some tests want.
        drop(write(&mut stream, answer(&asked, before)).await);
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut chunk = [0; 4096];
        let len = stream.read(&mut chunk).await.ok().filter(|len| *len > 0)?;
        bytes.extend_from_slice(chunk.get(..len)?);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8(bytes.get(..end)?.to_vec()).ok()?;
    let line = head.lines().next()?.replace(" HTTP/1.1", "");
    let head = head.to_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = bytes.get(end.checked_add(4)?..)?.to_vec();
    while body.len() < len.unwrap_or(0) {
        let mut chunk = [0; 4096];
        let len = stream.read(&mut chunk).await.ok().filter(|len| *len > 0)?;
        body.extend_from_slice(chunk.get(..len)?);
    }
    Some(Asked { line, head, body })
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, reply: Reply) -> std::io::Result<()> {
    let head = |status: u16, headers: &[(&str, String)], len: Option<usize>| {
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let len = len.map(|len| format!("content-length: {len}\r\n")).unwrap_or_default();
        let headers: String = headers.collect();
        format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{headers}{len}\r\n")
    };
    match reply {
        Reply::Ok(headers, body) => {
            stream.write_all(head(200, &headers, Some(body.len())).as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Late(wait, body) => {
            tokio::time::sleep(wait).await;
            stream.write_all(head(200, &[], Some(body.len())).as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Status(status, headers) => {
            stream.write_all(head(status, &headers, Some(2)).as_bytes()).await?;
            stream.write_all(b"no").await?;
        }
        Reply::CutOff(body) => {
            stream.write_all(head(200, &[], Some(body.len())).as_bytes()).await?;
            stream.write_all(body.split_at(body.len() / 2).0).await?;
        }
        Reply::Endless => {
            stream.write_all(head(200, &[], None).as_bytes()).await?;
            let zeros = vec![b'0'; 1 << 16];
            loop {
                stream.write_all(&zeros).await?;
            }
        }
        Reply::Silence => tokio::time::sleep(Duration::from_mins(1)).await,
        Reply::Nothing => {}
    }
    stream.shutdown().await
}
