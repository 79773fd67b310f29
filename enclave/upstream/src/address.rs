use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server of the same machine listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// `unix:/absolute/path`.
    Unix(PathBuf),
    /// `127.0.0.1:8000` or `[::1]:8000`.
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(NoAddress)
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| NoAddress)?;
        let is_local = address.ip().is_loopback() && address.port() != 0;
        if is_local { Ok(Self::Tcp(address)) } else { Err(NoAddress) }
    }
}

/// Text that names no socket of the same machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoAddress;

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is neither `unix:/absolute/path` nor a loopback address with a port")
    }
}

impl std::error::Error for NoAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_an_address() {
        for good in ["unix:/run/e.sock", "127.0.0.1:8000", "[::1]:1"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", "unix:e.sock", "127.0.0.1:0", "10.0.0.1:8000", "localhost:80", "0.0.0.0:1"]
        {
            assert_eq!(bad.parse::<Address>(), Err(NoAddress), "{bad}");
        }
    }
}
