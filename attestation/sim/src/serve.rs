//! Serves reports on a unix socket, in the wire of [`attestation::platform`].

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attestation::CpuEvidence;
use attestation::platform::{Request, Response, Signed, frame_len};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::SimError;
use crate::platform::SimulatedPlatform;

/// A socket that is bound and not yet served; its file goes when this is dropped.
#[derive(Debug)]
pub struct Service {
    listener: UnixListener,
    path: PathBuf,
}

impl Service {
    /// Binds the socket, mode 0600, and clears away one that nobody serves. Needs a runtime.
    pub fn bind(path: &Path) -> Result<Self, SimError> {
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(SimError::file(path))?;
        let service = Self { listener, path: path.to_owned() };
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(SimError::file(path))?;
        Ok(service)
    }

    /// Serves until the future is dropped.
    pub async fn run(&self, platform: SimulatedPlatform) {
        let platform = Arc::new(platform);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // The semaphore is never closed, so this is a wait and nothing else.
            let place = Arc::clone(&places).acquire_owned().await;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let platform = Arc::clone(&platform);
                    tokio::spawn(async move {
                        // Whoever talks badly or slowly loses the connection, and learns no more.
                        drop(timeout(EXCHANGE_MAX, answer(stream, &platform)).await);
                        drop(place);
                    });
                }
                // Out of descriptors, say: others may give theirs back.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

async fn answer(mut stream: UnixStream, platform: &SimulatedPlatform) -> io::Result<()> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let len = frame_len(header).ok().filter(|len| *len <= REQUEST_LEN_MAX);
    let mut contents = vec![0; len.ok_or(ErrorKind::InvalidData)?];
    stream.read_exact(&mut contents).await?;
    stream.write_all(&respond(&contents, platform).encode()).await?;
    stream.shutdown().await
}

fn respond(contents: &[u8], platform: &SimulatedPlatform) -> Response {
    let report = match Request::parse(contents) {
        Ok(Request::Report(report_data)) => platform.report(&report_data).ok(),
        Ok(Request::Accelerators(_)) | Err(_) => None,
    };
    match report {
        Some(report) => Response::Evidence {
            signed: Signed::Cpu { cpu: CpuEvidence::sev_snp(report), event_log: None },
            endorsements: Box::new(platform.endorsements.clone()),
        },
        None => Response::Refused,
    }
}

fn remove_stale(path: &Path) -> Result<(), SimError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(SimError::file(path)(error)),
        Ok(metadata) if metadata.file_type().is_socket() => {
            if Probe::connect(path).is_ok() {
                return Err(SimError::file(path)(ErrorKind::AddrInUse.into()));
            }
            fs::remove_file(path).map_err(SimError::file(path))
        }
        Ok(_) => Err(SimError::file(path)(ErrorKind::AlreadyExists.into())),
    }
}

/// Connections at a time; an enclave uses one.
const CONNECTIONS_MAX: usize = 16;
/// How long one question and its answer may take.
const EXCHANGE_MAX: Duration = Duration::from_secs(5);
/// A request is 66 bytes.
const REQUEST_LEN_MAX: usize = 256;
