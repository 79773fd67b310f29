//! What the program is told by its surroundings, read once, here.

use std::env;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attestation::UnixTime;
use client::Clock;

use crate::failure::Failure;

/// The clock and the user's folders (XDG Base Directory Specification).
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) clock: Clock,
    data: Option<PathBuf>,
    state: Option<PathBuf>,
    cache: Option<PathBuf>,
    config: Option<PathBuf>,
    executable: Option<PathBuf>,
}

impl World {
    /// Reads it.
    pub(crate) fn read() -> Self {
        // The specification: a path that is not absolute is to be ignored.
        let absolute =
            |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let folder = |name, default: &str| {
            let base = absolute(name).or_else(|| home.as_ref().map(|home| home.join(default)));
            base.map(|base| base.join("veritee"))
        };
        Self {
            clock: Clock::new(now),
            data: folder("XDG_DATA_HOME", ".local/share"),
            state: folder("XDG_STATE_HOME", ".local/state"),
            cache: folder("XDG_CACHE_HOME", ".cache"),
            config: folder("XDG_CONFIG_HOME", ".config"),
            executable: env::current_exe().ok(),
        }
    }

    /// Where data is kept.
    pub(crate) fn data(&self) -> Result<&PathBuf, Failure> {
        known(self.data.as_ref(), "XDG_DATA_HOME")
    }

    /// Where the memory of versions is kept.
    pub(crate) fn state(&self) -> Result<&PathBuf, Failure> {
        known(self.state.as_ref(), "XDG_STATE_HOME")
    }

    /// Where downloads are kept.
    pub(crate) fn cache(&self) -> Result<&PathBuf, Failure> {
        known(self.cache.as_ref(), "XDG_CACHE_HOME")
    }

    /// Where configurations are, if anywhere.
    pub(crate) const fn config(&self) -> Option<&PathBuf> {
        self.config.as_ref()
    }

    /// A program that was built beside this one.
    pub(crate) fn sibling(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.executable.as_ref().and_then(|path| path.parent());
        let sibling = folder.map(|folder| folder.join(name)).filter(|path| path.is_file());
        sibling.ok_or_else(|| {
            Failure::usage(
                format!("{name} is not beside this program"),
                "build all programs, with `make demo` say",
            )
        })
    }
}

/// What the fetching of endorsements needs of the surroundings.
impl endorsements::World for World {
    fn now(&self) -> UnixTime {
        self.clock.now()
    }

    fn random(&self, bytes: &mut [u8]) -> bool {
        getrandom::fill(bytes).is_ok()
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(span))
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixTime::from_secs(since.as_secs())
}

fn known<'a>(folder: Option<&'a PathBuf>, name: &str) -> Result<&'a PathBuf, Failure> {
    folder.ok_or_else(|| {
        Failure::usage("there is no home folder".to_owned(), &format!("set HOME or {name}"))
    })
}
