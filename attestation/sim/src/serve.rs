//! Serves reports on a unix socket, in the wire of [`attestation::platform`].

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attestation::platform::{Request, Response, frame_len};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::SimError;
use crate::machine::Machine;

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
    pub async fn run(&self, machine: Machine) {
        let machine = Arc::new(machine);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // The semaphore is never closed, so this is a wait and nothing else.
            let place = Arc::clone(&places).acquire_owned().await;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let machine = Arc::clone(&machine);
                    tokio::spawn(async move {
                        // Whoever talks badly or slowly loses the connection, and learns no more.
                        drop(timeout(EXCHANGE_MAX, answer(stream, &machine)).await);
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

async fn answer(mut stream: UnixStream, machine: &Machine) -> io::Result<()> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let len = frame_len(header).ok().filter(|len| *len <= REQUEST_LEN_MAX);
    let mut contents = vec![0; len.ok_or(ErrorKind::InvalidData)?];
    stream.read_exact(&mut contents).await?;
    let response =
        Request::parse(&contents).map_or(Response::Refused, |request| machine.answer(&request));
    stream.write_all(&response.encode()).await?;
    stream.shutdown().await
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
