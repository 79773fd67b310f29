//! What the program does instead of serving: `keys` adds, lists and revokes API keys, `identity` makes certificates.

mod identity;

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use attestation::{Secret, UnixTime};
use clap::{Args, Subcommand};
use router::{Key, KeyId, KeySeed, KeysFile, Overrides};

use self::identity::IdentityCommand;
use crate::{Failure, read_alone, remark, say};

/// What the program does instead of serving.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Adds, lists and revokes API keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Makes and shows the certificate by which enclaves know the router.
    #[command(subcommand)]
    Identity(IdentityCommand),
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Adds a key and prints it: the only time that it is seen.
    Add {
        #[command(flatten)]
        file: Place,
        /// What to call it: letters, digits, spaces and any of `. _ - @`.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        limits: Limits,
    },
    /// Lists the keys: id, state, when added, limits of their own, name.
    List {
        #[command(flatten)]
        file: Place,
    },
    /// Revokes the key with this id; a running router refuses it within `keys.reload_ms`.
    Revoke {
        #[command(flatten)]
        file: Place,
        /// Sixteen hexadecimal digits, as `keys list` prints them.
        id: String,
    },
}

/// Where the file of keys is.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Place {
    /// The router's configuration, which names the file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file itself.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Limits {
    /// Requests in a minute, instead of the configuration's `keys.limits`.
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Requests in flight, instead of the configuration's.
    #[arg(long, value_name = "N")]
    streams_max: Option<u32>,
    /// Requests that enclaves could not open, in a minute, instead of the configuration's.
    #[arg(long, value_name = "N")]
    failures_per_minute: Option<u32>,
}

impl Command {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Keys(command) => command.run(),
            Self::Identity(command) => command.run(),
        }
    }
}

impl KeysCommand {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add { file, name, limits } => add(&file.path()?, &name, &limits),
            Self::List { file } => list(&file.path()?),
            Self::Revoke { file, id } => revoke(&file.path()?, &id),
        }
    }
}

fn add(path: &Path, name: &str, limits: &Limits) -> Result<(), Failure> {
    let Limits { requests_per_minute, streams_max, failures_per_minute } = *limits;
    let limits = Overrides { requests_per_minute, streams_max, failures_per_minute };
    let (seed, now) = (seed()?, now()?);
    let (id, token) = KeysFile::change(path, |file| file.add(name, limits, &seed, now))?;
    remark(&format!("added key {id}; what follows is the key, and is not shown again"));
    say(token.expose())
}

fn list(path: &Path) -> Result<(), Failure> {
    for key in KeysFile::load(path)?.keys() {
        let Key { id, name, created, revoked, limits, .. } = key;
        let state = revoked.map_or_else(|| "live".to_owned(), |since| format!("revoked {since}"));
        let Overrides { requests_per_minute, streams_max, failures_per_minute } = limits;
        let own = [
            ("requests_per_minute", requests_per_minute),
            ("streams_max", streams_max),
            ("failures_per_minute", failures_per_minute),
        ];
        let own: Vec<_> = own
            .iter()
            .filter_map(|(limit, value)| value.map(|value| format!("{limit}={value}")))
            .collect();
        let own = if own.is_empty() { "-".to_owned() } else { own.join(",") };
        say(&format!("{id}\t{state}\tadded {created}\t{own}\t{name}"))?;
    }
    Ok(())
}

fn revoke(path: &Path, id: &str) -> Result<(), Failure> {
    let (id, now) = (id.parse::<KeyId>()?, now()?);
    if !path.exists() {
        // Otherwise a slip in the path would make a file and find no key in it.
        return Err(Failure::Usage(anyhow!(
            "there is no {}; name the file that `keys add` wrote",
            path.display()
        )));
    }
    KeysFile::change(path, |file| file.revoke(id, now))?;
    say(&format!("revoked {id}"))
}

impl Place {
    fn path(self) -> Result<PathBuf, Failure> {
        match (self.keys, self.config) {
            (Some(file), _) => Ok(file),
            (None, Some(config)) => {
                let keys = read_alone(&config).map_err(Failure::Usage)?.keys;
                let missing = || anyhow!("{} has no `[keys]` with a `file`", config.display());
                keys.map(|keys| keys.file).ok_or_else(missing).map_err(Failure::Usage)
            }
            (None, None) => Err(Failure::Usage(anyhow!("`--config` or `--keys` is needed"))),
        }
    }
}

fn seed() -> Result<KeySeed, Failure> {
    let mut seed = Secret::new([0; 40]);
    getrandom::fill(seed.expose_mut()).map_err(|error| {
        Failure::Unavailable(anyhow!("the system gives no randomness: {error}"))
    })?;
    Ok(seed)
}

#[expect(clippy::disallowed_methods, reason = "only binaries read the clock")]
fn now() -> Result<UnixTime, Failure> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970")
        .map_err(Failure::Unavailable)?;
    Ok(UnixTime::from_secs(Duration::as_secs(&since)))
}
