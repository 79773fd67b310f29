//! `veritee demo`: the whole path on one machine, with a simulated platform, and then a lying
//! operator who tries to get in between.
//!
//! The programs are the real ones, started as child processes. Only the platform is simulated: its
//! policy names a test root as its anchor and is labelled `untrusted-anchors` everywhere.

mod liar;
mod lies;
mod model;
mod stack;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use client::{Chat, Client, Family, Memory};
use tokio::time::Instant;

use crate::arguments::Demo;
use crate::failure::Failure;
use crate::output::Out;
use crate::proxying::{Stop, listen};
use crate::world::World;
use crate::{chat, table};
use stack::Stack;

/// Runs it, and stops everything that it started, however it ends.
pub(crate) async fn run(demo: Demo, world: &World, out: &Out) -> Result<ExitCode, Failure> {
    // A show is read in order; of a server, standard output has the line for machines alone.
    let together = Out::together();
    let out = if demo.serve { out } else { &together };
    let (stop, began) = (Stop::new()?, Instant::now());
    let mut stack = Stack::new(world, demo.platform)?;
    let ended = tokio::select! {
        ended = show(&demo, world, out, &mut stack) => ended,
        // Serving ends so; anything else is cut short.
        () = stop.wait() => if demo.serve {
            Ok(ExitCode::SUCCESS)
        } else {
            let message = "stopped by a signal before the end".to_owned();
            Err(Failure::unavailable(INTERRUPTED, message, "run it again"))
        },
    };
    // What the programs said matters only where something went wrong, and not with the asking.
    let is_wrong = ended.as_ref().is_err_and(|failure| {
        failure.code != INTERRUPTED && failure.exit() != Family::Usage.exit_code()
    });
    let logs = stack.stop(!is_wrong).await;
    if let (Err(_), Some(logs)) = (&ended, logs) {
        out.note(format_args!("what the programs said is in {}", logs.display()));
    }
    if ended.is_ok() {
        out.note(format_args!(
            "done in {:.0} s; everything is stopped",
            began.elapsed().as_secs_f64()
        ));
    }
    ended
}

async fn show(
    demo: &Demo,
    world: &World,
    out: &Out,
    stack: &mut Stack,
) -> Result<ExitCode, Failure> {
    let model = model::fetch(demo.model.as_deref(), world, out).await?;
    stack.start(&model, out).await?;
    let client = connect(stack, world).await?;
    if demo.serve {
        return serve(demo, client, stack, out).await;
    }
    out.note("");
    // The client asks each enclave with a challenge of its own.
    let shown = table::Shown { is_challenged: true, ..table::Shown::default() };
    for enclave in client.enclaves().await? {
        out.text(table::render(enclave.report(), &shown))?;
    }
    out.note(format_args!("\nasking: {}\n", demo.prompt));
    let asked = Instant::now();
    let question = Chat {
        max_tokens: Some(ANSWER_TOKENS_MAX),
        temperature: Some(0.0),
        ..Chat::question(model::NAME, &demo.prompt)
    };
    let closing = chat::ask(&client, &question, out).await?;
    let tokens = closing.receipt().receipt().usage.completion;
    out.note(format_args!("  took     {:.1} s for {tokens} tokens", asked.elapsed().as_secs_f64()));
    lies::tell(stack, &client, world, out).await?;
    out.note("");
    Ok(ExitCode::SUCCESS)
}

/// A client that has verified the enclave; the router needs a moment to find it.
async fn connect(stack: &Stack, world: &World) -> Result<Client, Failure> {
    let policy = client::load_policy(&stack.policy())?;
    let memory = Memory::in_folder(stack.folder().join("state"));
    let client =
        Client::builder(stack.router(), policy, world.clock.clone()).memory(memory).build()?;
    let deadline = Instant::now().checked_add(FIND_MAX);
    loop {
        match client.enclaves().await {
            Ok(_) => return Ok(client),
            Err(client::Error::NoEnclaves { candidates: 0, .. })
                if deadline.is_some_and(|deadline| Instant::now() < deadline) =>
            {
                tokio::time::sleep(FIND_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Serves the proxy until [`run`] sees a signal.
async fn serve(
    demo: &Demo,
    client: Client,
    stack: &mut Stack,
    out: &Out,
) -> Result<ExitCode, Failure> {
    let listener = listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), demo.port)).await?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::bug(format!("a listener without an address: {error}")))?;
    let router = client.router().to_string();
    out.note(format_args!("policy {}", stack.policy().display()));
    out.line(format_args!("ready proxy=http://{address}/v1 router={router}"))?;
    tokio::select! {
        served = proxy::serve(listener, client, proxy::Options::default(), std::future::pending()) => served
            .map(|()| ExitCode::SUCCESS)
            .map_err(|error| Failure::unavailable("listen", error.to_string(), "run it again")),
        failure = stack.died() => Err(failure),
    }
}

/// Enough for a few sentences, on a slow machine too.
const ANSWER_TOKENS_MAX: u64 = 200;

/// The code of an end by signal.
const INTERRUPTED: &str = "interrupted";

/// How long the router may take to find the enclave.
const FIND_MAX: Duration = Duration::from_secs(15);
const FIND_PAUSE: Duration = Duration::from_millis(100);
