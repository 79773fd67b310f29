//! A browser: what its pages may do with the proxy that listens on the same machine.
//!
//! All pages here are on loopback too, so that nothing stops them but the proxy: browsers guard what is on loopback from pages that
//! are not, some more and some less.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    response::Html,
    routing::{get, post},
};
use http::header;
use proxy::Options;
use serde_json::{Value, json};
use tests::fleet::{Fleet, MODEL, Plan};
use tokio::{
    io::{AsyncReadExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

use crate::{Local, PATIENCE, PROMPT, source, tool};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_reads_nothing_and_causes_nothing() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    let mut site = Site::start().await;
    // Another port of the same address is another origin and the same site; another name is another site.
    for host in [site.address.to_string(), format!("evil.example:{}", site.address.port())] {
        let seen = site.visit(&host, "foreign", &proxy.url).await;
        let seen = seen.as_object().unwrap();
        for (attempt, came) in seen {
            let expected = match attempt.as_str() {
                // Something is shown, the refusal; the page cannot look.
                "frame" | "form" => "unreadable",
                _ => "refused",
            };
            assert_eq!(came, expected, "{host}: {attempt}: {seen:?}");
        }
        assert_eq!(seen.len(), 14, "{seen:?}");
        assert!(fleet.relay.carried().is_empty(), "{host}: the proxy asked somebody something");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_allowed_origin_asks_and_reads() {
    let fleet = Fleet::start(Plan::default()).await;
    let mut site = Site::start().await;
    let origin = format!("http://{}", site.address);
    let options = Options { allowed_origins: vec![origin] };
    let proxy = Local::start(fleet.client(), options).await;
    let seen = site.visit(&site.address.to_string(), "allowed", &proxy.url).await;
    let node = fleet.nodes[0].to_string();
    let expected = json!({
        "models": [MODEL],
        "whole": PROMPT,
        "streamed": PROMPT,
        "done": true,
        "node": node,
        "verdict": "accepted-untrusted-anchors",
        "error": [404, "model-not-allowed"],
        "receipt": "stop",
    });
    assert_eq!(seen, expected);
    // The same page under another of this machine's names is another origin.
    let name = format!("localhost:{}", site.address.port());
    let seen = site.visit(&name, "foreign", &proxy.url).await;
    assert_eq!(seen["json post"], "refused", "{seen}");
}

/// The page's own name leads to the proxy after the page came: its requests are of the same origin, and only `Host` tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_name_now_leads_here_reads_nothing() {
    let fleet = Fleet::start(Plan::default()).await;
    let proxy = Local::before(&fleet).await;
    let mut site = Site::start().await;
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("rebound.example:{}", door.local_addr().unwrap().port());
    let (before, after) = (site.address, proxy.url.strip_prefix("http://").unwrap().to_owned());
    let (flipped, led) = (Arc::clone(&site.flipped), Arc::new(AtomicUsize::new(0)));
    let leads = Arc::clone(&led);
    let leading = tokio::spawn(async move {
        while let Ok((mut browser, _)) = door.accept().await {
            let to = if flipped.load(SeqCst) { after.clone() } else { before.to_string() };
            leads.fetch_add(usize::from(flipped.load(SeqCst)), SeqCst);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                copy_bidirectional(&mut browser, &mut server).await.ok();
            });
        }
    });
    let seen = site.visit(&host, "rebound", &format!("http://{host}")).await;
    leading.abort();
    let told = json!([403, "host-not-loopback"]);
    assert_eq!(seen, json!({"models": told, "chat": told, "verification": told}));
    assert!(led.load(SeqCst) > 0, "nothing came to the proxy");
    assert!(fleet.relay.carried().is_empty(), "the proxy asked somebody something");
}

/// A web site that is not ours, on loopback.
struct Site {
    address: SocketAddr,
    reports: mpsc::UnboundedReceiver<String>,
    flipped: Arc<AtomicBool>,
}

impl Site {
    async fn start() -> Self {
        let (sender, reports) = mpsc::unbounded_channel();
        let flipped = Arc::new(AtomicBool::new(false));
        let flip = Arc::clone(&flipped);
        let script = std::fs::read_to_string(source("page.js")).unwrap();
        let page = format!("<!doctype html><body><script>{script}</script>");
        // Each connection serves once, so that what comes after the page may be led elsewhere.
        let close = [(header::CONNECTION, "close")];
        let app = Router::new()
            .route("/page", get(move || async move { (close, Html(page)) }))
            .route("/flip", post(move || async move { flip.store(true, SeqCst) }))
            .route("/report", post(move |body: String| async move { sender.send(body).unwrap() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, reports, flipped }
    }

    /// Shows the page at `host` to a browser; what the page's `part` reports of the proxy at `proxy`.
    async fn visit(&mut self, host: &str, part: &str, proxy: &str) -> Value {
        let query = format!("part={part}&proxy={proxy}&site=http://{}", self.address);
        let query = format!("{query}&model={MODEL}&prompt={PROMPT}");
        let mut browser = Browser::open(&format!("http://{host}/page?{query}"));
        let report = timeout(PATIENCE, self.reports.recv()).await;
        let said = browser.close().await;
        let Ok(Some(report)) = report else {
            panic!("the page reported nothing; the browser said:\n{said}");
        };
        serde_json::from_str(&report).unwrap()
    }
}

/// Chromium without a screen, in a profile of its own.
struct Browser {
    child: Child,
    profile: PathBuf,
}

impl Browser {
    fn open(url: &str) -> Self {
        static OPENED: AtomicUsize = AtomicUsize::new(0);
        let number = OPENED.fetch_add(1, SeqCst);
        let profile = format!("veritee-browser-{}-{number}", std::process::id());
        let profile = std::env::temp_dir().join(profile);
        let child = Command::new(tool("browser/chromium"))
            .env("LD_LIBRARY_PATH", tool("browser/lib"))
            // As root, as tests in containers run, its own sandbox does not start. It meets our own pages alone.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"])
            .args(["--no-first-run", "--disable-sync", "--disable-component-update"])
            .args(["--disable-background-networking", "--no-proxy-server"])
            // It finds nobody but this machine.
            .arg("--host-resolver-rules=MAP *.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, profile }
    }

    /// Ends it; what it said.
    async fn close(&mut self) -> String {
        self.child.kill().await.unwrap();
        let mut said = Vec::new();
        let mut stderr = self.child.stderr.take().unwrap();
        // Its helpers hold the pipe until they notice.
        timeout(PATIENCE, stderr.read_to_end(&mut said)).await.unwrap().unwrap();
        std::fs::remove_dir_all(&self.profile).ok();
        String::from_utf8_lossy(&said).into_owned()
    }
}
