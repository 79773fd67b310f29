//! `veritee proxy`: the local OpenAI-compatible proxy.

use std::process::ExitCode;

use proxy::Options;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::Proxy;
use crate::chat::connect;
use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn run(arguments: Proxy, world: &World, out: &Out) -> Result<ExitCode, Failure> {
    let client = connect(&arguments.connection, world)?;
    if !arguments.listen.ip().is_loopback() {
        let message = format!("{} is not a loopback address", arguments.listen);
        return Err(Failure::usage(message, "listen at 127.0.0.1: the proxy speaks plain HTTP"));
    }
    let stop = Stop::new()?;
    let listener = listen(arguments.listen).await?;
    let address = listener.local_addr().map_err(|error| unlistened(&error.to_string()))?;
    // Whom one cannot verify now one may be able to later; the reason should be known at once.
    match client.enclaves().await {
        Ok(enclaves) => {
            out.note(format_args!("{}, verified enclaves: {}", client.verdict(), enclaves.len()));
        }
        Err(error) => {
            out.note(format_args!("{}: {error}. Next: {}.", error.code(), error.next_step()));
        }
    }
    out.line(format_args!("ready proxy=http://{address}/v1 router={}", client.router()))?;
    let options = Options { allowed_origins: arguments.allow_origin };
    proxy::serve(listener, client, options, stop.wait())
        .await
        .map_err(|error| unlistened(&error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

/// A listener at `address`.
pub(crate) async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| unlistened(&format!("cannot listen at {address}: {error}")))
}

fn unlistened(why: &str) -> Failure {
    Failure::unavailable("listen", why.to_owned(), "choose another port, or stop what uses it")
}

/// SIGINT and SIGTERM, which from now on no longer end the process by themselves.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Starts to listen for both.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::bug(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for either.
    pub(crate) async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
