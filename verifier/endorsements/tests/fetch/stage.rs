//! What a test needs: a folder, a world whose time is a number, a fetcher.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attestation::UnixTime;
use endorsements::{
    Config, Disk, Fetcher, Item, Marks, Mode, Obtained, OsDisk, Store, Unavailable, World,
};

use crate::service::Service;

/// When everything in these tests happens.
pub(crate) const NOW: u64 = 1_795_000_000;

/// Time that passes when somebody waits.
#[derive(Debug)]
pub(crate) struct Fake {
    now: AtomicU64,
    pub(crate) waits: Mutex<Vec<Duration>>,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { now: AtomicU64::new(NOW), waits: Mutex::default() })
    }

    pub(crate) fn pass(&self, secs: u64) {
        self.now.fetch_add(secs, Ordering::SeqCst);
    }

    pub(crate) fn set(&self, secs: u64) {
        self.now.store(secs, Ordering::SeqCst);
    }

    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.waits.lock().unwrap().clone()
    }
}

impl World for Fake {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.now.load(Ordering::SeqCst))
    }

    fn random(&self, bytes: &mut [u8]) -> bool {
        getrandom::fill(bytes).is_ok()
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Whoever waits for a lock waits in truth, in steps of no time: the other has to get on.
        if span < Duration::from_millis(150) {
            return Box::pin(tokio::time::sleep(Duration::from_millis(2)));
        }
        self.waits.lock().unwrap().push(span);
        self.pass(span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0)));
        Box::pin(tokio::task::yield_now())
    }
}

/// A folder of its own for one test.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("veritee-endorsements-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn files(&self, extension: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.0.join("cache")) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A configuration that asks `urls` for everything, impatiently.
pub(crate) fn config(urls: &[&str], more: &str) -> Config {
    let list = |path: &str| {
        let urls: Vec<String> = urls.iter().map(|url| format!("\"{url}{path}\"")).collect();
        urls.join(", ")
    };
    let text = format!(
        "[amd]\nurls = [{base}]\n[intel]\nurls = [{base}]\nroot_crl_urls = [{root}]\n\
         [nvidia]\nocsp_urls = [{ocsp}]\nrim_urls = [{base}]\n{more}",
        base = list(""),
        root = list("/IntelSGXRootCA.der"),
        ocsp = list("/ocsp"),
    );
    Config::from_toml(&text, Path::new("test.toml")).unwrap()
}

pub(crate) const IMPATIENT: &str = "[http]\nconnect_ms = 2000\nanswer_ms = 4000\nattempts = 3\n";

/// A fetcher over the folder.
pub(crate) fn fetcher(folder: &Folder, config: Config, world: &Arc<Fake>) -> Fetcher {
    fetcher_with(folder, config, world, Arc::new(OsDisk))
}

pub(crate) fn fetcher_with(
    folder: &Folder,
    config: Config,
    world: &Arc<Fake>,
    disk: Arc<dyn Disk>,
) -> Fetcher {
    let store = Store::with_disk(folder.0.join("cache"), disk);
    let marks = Marks::in_folder(folder.0.join("state"));
    Fetcher::new(config, store, marks, Arc::<Fake>::clone(world)).unwrap()
}

/// One service, one folder, one world, one fetcher.
pub(crate) struct Stage {
    pub(crate) folder: Folder,
    pub(crate) world: Arc<Fake>,
    pub(crate) service: Service,
    pub(crate) fetcher: Fetcher,
}

impl Stage {
    pub(crate) async fn new(name: &str) -> Self {
        let (folder, world, service) = (Folder::new(name), Fake::new(), Service::start().await);
        let fetcher = fetcher(&folder, config(&[&service.url], IMPATIENT), &world);
        Self { folder, world, service, fetcher }
    }

    pub(crate) async fn obtain(&self, item: &Item) -> Result<Obtained, Unavailable> {
        self.fetcher.obtain(item, Mode::Cached, &|_| ()).await
    }

    /// Another process with the same folders.
    pub(crate) fn another(&self) -> Fetcher {
        fetcher(&self.folder, config(&[&self.service.url], IMPATIENT), &self.world)
    }
}
