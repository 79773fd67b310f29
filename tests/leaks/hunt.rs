//! The stack that is hunted through: the real programs, with taps on every leg between them.

use std::net::SocketAddr;

use http::header;
use serde_json::{Value, json};
use tests::{
    programs::{Cores, MODEL, PATIENCE, Place, Running, address_in, quiet_port, until_ready},
    scan::Needle,
    wire::{Answer, Tap, request, send},
};

/// The programs of one story, started so that the kernel may write cores, and told by their environment to say all they can.
#[derive(Debug)]
pub(crate) struct Hunt {
    pub(crate) place: Place,
    pub(crate) platform: Running,
    pub(crate) enclave: Running,
    pub(crate) router: Running,
    pub(crate) proxy: Running,
    /// Between an SDK and the proxy: the user's own machine, where all is in the clear.
    pub(crate) local: Tap,
    /// Between the proxy and the router.
    pub(crate) outside: Tap,
    /// Between the router and the enclave.
    pub(crate) inside: Tap,
    /// The key that the router asks for.
    pub(crate) key: Needle,
    /// Where the router is.
    pub(crate) router_address: SocketAddr,
    connector: Option<tls::Connector>,
    /// How clients reach the router.
    pub(crate) access: Access,
}

/// How the programs reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Legs {
    Plain,
    Tls,
}

/// What a client is told to reach the router.
#[derive(Debug)]
pub(crate) struct Access {
    legs: Legs,
    policy: String,
    key_file: String,
    authority: String,
}

/// The same as arguments.
#[derive(Debug)]
pub(crate) struct Arguments(Vec<String>);

/// What an SDK was told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Why the connection broke, if it did.
    pub(crate) broke: Option<String>,
}

impl Hunt {
    pub(crate) async fn start(story: &str, legs: Legs) -> Self {
        let place = Place::new(story);
        let platform = place.platform().await;
        let address = quiet_port();
        let (tables, connector) = secure(&place, legs).await;
        let limits = format!("drain_s = 2\n{tables}");
        let config = place.enclave_config("enclave.toml", address, "", &limits);
        let policy = place.policy(&[place.digests(&config).await]).await;
        let inside = Tap::start(address).await;
        let enclave = start_enclave(&place).await;

        let (_, key) = place.add_key("hunt", &[]).await;
        let key_file = place.write("client.key", &key);
        let own =
            "listen = \"127.0.0.1:0\"\n[keys]\nfile = \"keys.toml\"\n[timeouts]\npoll_ms = 100\n";
        place.write("router.toml", format!("{own}{}", legs.in_router(inside.address())));
        let config = place.path("router.toml");
        let arguments = ["--config", &config];
        let mut router = place.start_as("router", "veritee-router", &arguments, Cores::Unlimited);
        let router_address = address_in(&router.line().await);
        until_ready(router_address, connector.as_ref(), 1).await;
        let outside = Tap::start(router_address).await;

        let access = Access { legs, policy, key_file, authority: place.path("ca.pem") };
        let arguments = access.of(&outside);
        let arguments = [&["proxy", "--listen", "127.0.0.1:0"], &arguments.each()[..]].concat();
        let mut proxy = place.start_as("proxy", "veritee", &arguments, Cores::Unlimited);
        let local = Tap::start(address_in(&proxy.line().await)).await;
        let key = Needle::new("the API key", &key);
        Self {
            place,
            platform,
            enclave,
            router,
            proxy,
            local,
            outside,
            inside,
            key,
            router_address,
            connector,
            access,
        }
    }

    /// Starts the enclave again, where it was.
    pub(crate) async fn restart_enclave(&mut self) {
        self.enclave = start_enclave(&self.place).await;
        until_ready(self.router_address, self.connector.as_ref(), 1).await;
    }

    /// Whether the key is in the clear between client and router, as it is on loopback.
    pub(crate) fn shows_its_key(&self) -> bool {
        self.access.legs == Legs::Plain
    }

    /// A question that holds a canary; `more` are members of the JSON object beside it.
    pub(crate) fn chat(canary: &Needle, more: &str) -> String {
        let content = json!(canary.text());
        let more = if more.is_empty() { "\"max_tokens\":24" } else { more };
        format!(
            "{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":{content}}}],\"temperature\":2,{more}}}"
        )
    }

    /// A question whose answer has so many tokens. The same question gets the same answer, streamed or not, so it is tried first.
    pub(crate) async fn lasting(&self, canary: &Needle, tokens: u32, more: &str) -> String {
        for seed in 0..100 {
            let body = Self::chat(canary, &format!("\"max_tokens\":{tokens},\"seed\":{seed}"));
            if self.ask(&body).await.body.contains("\"finish_reason\":\"length\"") {
                return body.replace("\"seed\"", &format!("{more}\"seed\""));
            }
        }
        panic!("the model never says {tokens} tokens");
    }

    /// Asks the proxy through the tap, and reads all that comes.
    pub(crate) async fn ask(&self, body: &str) -> Told {
        match self.begin(body).await {
            Ok(answer) => Told::read(answer).await,
            Err(why) => Told { status: 0, body: String::new(), broke: Some(why) },
        }
    }

    /// Keeps nothing back any more, and waits until the router has noticed.
    pub(crate) async fn let_pass(&self) {
        self.inside.let_pass();
        until_ready(self.router_address, self.connector.as_ref(), 1).await;
    }

    /// Asks for a long answer, and reads its beginning; the tap at the enclave keeps the rest back.
    pub(crate) async fn half(&self, canary: &Needle) -> (Answer, String) {
        let body = self.lasting(canary, 60, "\"stream\":true,").await;
        self.inside.hold_after(HALF);
        let mut answer = self.begin(&body).await.unwrap();
        let mut begun = String::new();
        while !begun.contains("\"content\":") {
            let octets = answer.next().await.unwrap().expect("an answer that begins");
            begun.push_str(&String::from_utf8_lossy(&octets));
        }
        (answer, begun)
    }

    /// Asks the proxy through the tap, and waits for the answer to begin.
    pub(crate) async fn begin(&self, body: &str) -> Result<Answer, String> {
        let mut asked = request("/v1/chat/completions", Some(body));
        // What SDKs send along, and nobody but the proxy is to see.
        let agent = http::HeaderValue::from_static("an SDK");
        asked.headers_mut().insert(header::USER_AGENT, agent);
        send(self.local.address(), asked).await
    }
}

impl Told {
    pub(crate) async fn read(mut answer: Answer) -> Self {
        let (status, mut body) = (answer.status.as_u16(), Vec::new());
        let broke = loop {
            match answer.next().await {
                Ok(Some(octets)) => body.extend_from_slice(&octets),
                Ok(None) => break None,
                Err(why) => break Some(why),
            }
        };
        Self { status, body: String::from_utf8_lossy(&body).into_owned(), broke }
    }

    /// Whether it is a whole answer, streamed or not.
    pub(crate) fn is_whole(&self) -> bool {
        let ended = self.body.contains("[DONE]") || self.body.contains("\"finish_reason\":\"");
        self.status == 200 && self.broke.is_none() && ended
    }

    /// What must be seen by nobody but the user, the proxy and the enclave: the answer's random id, and its text where it came whole.
    pub(crate) fn needles(&self, story: &str) -> Vec<Needle> {
        let data = self.body.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let first: Value = data.flat_map(serde_json::from_str).next().unwrap_or_default();
        let mut needles = Vec::new();
        if let Some(id) = first["id"].as_str() {
            needles.push(Needle::new(&format!("the answer's id, {story}"), id));
        }
        let text = first["choices"][0]["message"]["content"].as_str();
        if let Some(text) = text.filter(|text| text.chars().count() >= 50) {
            needles.push(Needle::new(&format!("the answer's text, {story}"), text));
            let quoted = json!(text).to_string();
            let quoted = quoted.trim_matches('"');
            needles.push(Needle::new(&format!("the answer's text in JSON, {story}"), quoted));
        }
        needles
    }
}

impl Access {
    /// For a client that comes through this tap.
    pub(crate) fn of(&self, tap: &Tap) -> Arguments {
        let Self { legs, policy, key_file, authority } = self;
        let scheme = if *legs == Legs::Tls { "https" } else { "http" };
        let url = format!("{scheme}://{}", tap.address());
        let mut arguments = vec!["--router", &url, "--policy", policy, "--key-file", key_file];
        if *legs == Legs::Tls {
            arguments.extend(["--router-ca", authority]);
        }
        Arguments(arguments.into_iter().map(str::to_owned).collect())
    }
}

impl Arguments {
    pub(crate) fn each(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

impl Legs {
    /// What the router's configuration says of them, for an enclave behind this address.
    fn in_router(self, enclave: SocketAddr) -> String {
        match self {
            Self::Plain => format!("[[enclaves]]\nurl = \"http://{enclave}\"\n"),
            Self::Tls => format!(
                "[tls]\ncertificate = \"router.pem\"\nkey = \"router.key\"\n\
                 [identity]\ncertificate = \"identity.pem\"\nkey = \"identity.key\"\n\
                 [[enclaves]]\nurl = \"https://{enclave}\"\nspki_file = \"enclave.pins\"\n"
            ),
        }
    }
}

/// Makes what TLS needs: tables for the enclave's configuration, and how to reach the router.
async fn secure(place: &Place, legs: Legs) -> (String, Option<tls::Connector>) {
    if legs == Legs::Plain {
        return (String::new(), None);
    }
    place.certificates();
    let pem = std::fs::read(place.path("ca.pem")).unwrap();
    let servers = tls::Servers::Authorities(tls::Authorities::from_pem(&pem).unwrap());
    let connector = tls::Connector::new(servers, None, PATIENCE).unwrap();
    (format!("[tls]\nrouter_spki = [\"{}\"]", place.identity().await), Some(connector))
}

async fn start_enclave(place: &Place) -> Running {
    let config = place.path("enclave.toml");
    let arguments = ["--config", &config];
    let mut enclave = place.start_as("enclave", "veritee-enclave", &arguments, Cores::Unlimited);
    let ready = enclave.line().await;
    if let Some((_, pin)) = ready.split_once(" spki=") {
        place.write("enclave.pins", pin);
    }
    enclave
}

/// Octets of a sealed answer: its head and some cells, of many.
const HALF: usize = 6_000;
