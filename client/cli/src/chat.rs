//! `veritee chat`: one question, its answer streamed and verified.

use std::io::{self, Read as _};
use std::process::ExitCode;
use std::sync::Arc;

use client::{Chat, Client, Closing, Enclave, Memory};

use crate::arguments::{Chat as Arguments, Connection};
use crate::endorse::Online;
use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;
use crate::{input, policy};

/// Asks, and writes the answer to standard output as it arrives; everything else to standard error.
pub(crate) async fn run(
    arguments: Arguments,
    world: &World,
    out: &Out,
) -> Result<ExitCode, Failure> {
    let client = connect(&arguments.connection, world)?;
    let prompt = if arguments.prompt == "-" { read_prompt()? } else { arguments.prompt };
    let model = match arguments.model {
        Some(model) => model,
        None => only_model(&client).await?,
    };
    let Arguments { temperature, max_tokens, .. } = arguments;
    let question = Chat {
        temperature: Some(temperature),
        max_tokens: Some(max_tokens),
        ..Chat::question(&model, &prompt)
    };
    ask(&client, &question, out).await?;
    Ok(ExitCode::SUCCESS)
}

/// A client with the memory of versions, which belongs to `chat` and `proxy`.
pub(crate) fn connect(connection: &Connection, world: &World) -> Result<Client, Failure> {
    let Some(path) = &connection.policy else {
        let message = "no policy is given, and none is built in: it says whom you trust".to_owned();
        return Err(Failure::usage(message, HOW_TO_POLICY));
    };
    let policy = policy::load(path, connection.policy_key.as_deref())?.policy;
    let memory = Memory::in_folder(world.state()?.clone());
    let endorsements = input::endorsements(&connection.endorsements)?;
    let builder = Client::builder(&connection.router, policy, world.clock.clone());
    let online = Online::new(connection.services.as_deref(), connection.offline, world)?;
    let builder = builder.memory(memory).endorsements(endorsements).endorser(Arc::new(online));
    let builder = match &connection.key_file {
        Some(path) => builder.authorization(input::key(path)?),
        None => builder,
    };
    let builder = match &connection.router_ca {
        Some(path) => builder.authorities(input::authorities(path)?),
        None => builder,
    };
    Ok(builder.build()?)
}

/// Streams the answer to a question; what it returns has verified.
pub(crate) async fn ask(client: &Client, question: &Chat, out: &Out) -> Result<Closing, Failure> {
    let mut answer = client.chat(question).await?;
    note_enclave(client, answer.enclave(), out);
    let mut began = false;
    loop {
        match answer.next().await {
            Ok(Some(event)) => {
                if let Some(text) = event.text().filter(|text| !text.is_empty()) {
                    out.prose(&text)?;
                    began = true;
                }
            }
            Ok(None) => break,
            Err(error) => {
                if began {
                    out.line("")?;
                    out.note("what stands above is not a whole answer:");
                }
                return Err(error.into());
            }
        }
    }
    out.line("")?;
    let closing =
        answer.closing().ok_or_else(|| Failure::bug("an end without a receipt".into()))?;
    out.note(receipt(closing));
    Ok(closing.clone())
}

/// The receipt in words.
pub(crate) fn receipt(closing: &Closing) -> String {
    let claims = closing.receipt().receipt();
    let usage = claims.usage;
    format!(
        "receipt verified: number {} of enclave {}\n  digest   {}\n  model    sha256:{}\n  \
         tokens   {} of the prompt, {} of the answer, ended by {}",
        claims.seq,
        closing.node_id(),
        closing.receipt().digest(),
        claims.manifest,
        usage.prompt,
        usage.completion,
        claims.finish.as_str(),
    )
}

fn note_enclave(client: &Client, enclave: &Enclave, out: &Out) {
    let policy = client.policy();
    out.note(format_args!(
        "enclave {} {}: policy {} version {}",
        enclave.node_id(),
        client.verdict(),
        policy.name(),
        policy.version(),
    ));
}

async fn only_model(client: &Client) -> Result<String, Failure> {
    let models = client.models().await?;
    match models.as_slice() {
        [model] => Ok(model.clone()),
        [] => {
            Err(client::Error::ModelNotAllowed { model: String::new(), available: models }.into())
        }
        _ => {
            let message = format!("several models are verified: {}", models.join(", "));
            Err(Failure::usage(message, "choose one with --model"))
        }
    }
}

fn read_prompt() -> Result<String, Failure> {
    let mut prompt = String::new();
    io::stdin().lock().take(PROMPT_LEN_MAX).read_to_string(&mut prompt).map_err(|error| {
        Failure::usage(format!("cannot read the question: {error}"), "give text in UTF-8")
    })?;
    Ok(prompt)
}

/// A request has 2 MiB at most (`docs/protocol.md` §5.4).
const PROMPT_LEN_MAX: u64 = 2 << 20;

const HOW_TO_POLICY: &str = "write one, starting from policies/snp-production.toml as docs/policy.md \
                             explains, and give it with --policy FILE; `make demo` shows one at work";
