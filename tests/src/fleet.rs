//! The honest rest, in process: a simulated platform, enclaves with an echo engine, a router, and the relay in front of it.
//!
//! Everything is on loopback, on free ports, at a moment that tests choose. Nothing is mocked but the platform's vendor and the
//! engine: the same libraries run as in the programs.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use attestation::{Digest, Endorsements, NodeId, ReportData, Sha256, UnixTime, snp::Product};
use client::{Chat, Client};
use collect::{AcceleratorEvidence, Accelerators, Attester, CollectError, PlatformEvidence};
use enclave::{boot::Boot, files::VerifiedFiles};
use engine::{EchoEngine, Engine};
use serde_json::Value;
use sim::{
    Machine, SimError, SimulatedPlatform, Validity,
    machine::Made,
    nvidia::NvidiaPki,
    policy::Accepted,
    replay::Devices,
    tdx::{IntelKeys, IntelPki},
};
use tokio::{net::TcpListener, sync::oneshot, time::sleep};
use verifier::Policy;

use crate::relay::Relay;

/// The model's name in every fleet.
pub const MODEL: &str = "echo";

/// The moment at which every fleet starts.
pub const START: u64 = 1_800_000_000;

/// What a fleet is like. [`Plan::default`] is one enclave that answers at once.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "an engine has none")]
pub struct Plan {
    /// How many enclaves.
    pub enclaves: usize,
    /// Lines of the enclaves' configuration, before its tables: `padding = "p2"`, say.
    pub config: &'static str,
    /// The engine of all enclaves; it has to run the model of [`EchoEngine`].
    pub engine: Arc<dyn Engine>,
    /// A server of the machine that answers in the engine's place.
    pub upstream: Option<Upstream>,
    /// What the host hands out with its reports.
    pub host: Host,
    /// How long the platform takes for a report.
    pub report_takes: Duration,
    /// The API keys that the router asks for.
    pub keys: Option<router::Keys>,
    /// The machine that all enclaves run on.
    pub machine: Simulated,
    /// GPUs, and switches between them, that all enclaves use.
    pub devices: (u8, u8),
    /// What the enclaves are told that the devices said; none, the truth.
    pub device_lie: Option<DeviceLie>,
}

/// A server in an engine's place.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Which program: `vllm`, `sglang` or `llama-server`.
    pub kind: &'static str,
    /// The socket on which it listens.
    pub socket: PathBuf,
    /// The file of its model.
    pub model: PathBuf,
}

/// Makes what the devices say over a nonce.
pub type DeviceLie = Arc<dyn Fn(&Devices, &Sha256) -> Vec<u8> + Send + Sync>;

/// The machines that a fleet can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulated {
    /// AMD SEV-SNP.
    SevSnp,
    /// Intel TDX.
    Tdx,
}

/// The host of the enclaves, which fills the certificate table as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// It hands out the vendor's certificates and revocation list.
    Helpful,
    /// It hands out nothing.
    Withholding,
}

/// A running fleet; it stops when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    /// The hostile operator, honest until told otherwise. Clients of this fleet talk to it.
    pub relay: Relay,
    /// The router behind it.
    pub router: SocketAddr,
    /// The enclaves' names.
    pub nodes: Vec<NodeId>,
    /// The enclaves' own addresses.
    pub enclaves: Vec<SocketAddr>,
    /// The policy that accepts this fleet, as text.
    pub policy: String,
    /// What the platform's vendor publishes.
    pub endorsements: Endorsements,
    /// How many reports the platform has signed.
    pub reports: Arc<AtomicUsize>,
    files: Vec<(String, Vec<u8>)>,
    clock: Arc<AtomicU64>,
    _stops: Vec<oneshot::Sender<()>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            enclaves: 1,
            config: "",
            engine: Arc::new(EchoEngine::new(8, Duration::ZERO)),
            upstream: None,
            host: Host::Helpful,
            report_takes: Duration::ZERO,
            keys: None,
            machine: Simulated::SevSnp,
            devices: (0, 0),
            device_lie: None,
        }
    }
}

impl Plan {
    /// The same with so many enclaves.
    #[must_use]
    pub fn with_enclaves(self, enclaves: usize) -> Self {
        Self { enclaves, ..self }
    }

    /// The same with an engine that answers in so many pieces, so far apart.
    #[must_use]
    pub fn with_echo(self, pieces: u32, pace: Duration) -> Self {
        Self { engine: Arc::new(EchoEngine::new(pieces, pace)), ..self }
    }
}

impl Fleet {
    /// Starts everything and waits until the router calls all enclaves ready.
    pub async fn start(plan: Plan) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let now = UnixTime::from_secs(START);
        let validity = sim::validity_from(now, sim::VALIDITY_SECS_MAX);
        let Made { machine, sections, files } =
            made(plan.machine, plan.devices, validity).expect("the test PKI is made");
        let machine = Arc::new(machine);

        let config = enclave_config(&plan, &machine);
        let model = plan.upstream.as_ref().map(|_| files_of(&config));
        let accepted = accepted(&config, &*plan.engine, model.as_ref());
        let policy = sim::policy::render_all(START, &accepted, validity.not_after, &sections);

        let (mut stops, reports) = (Vec::new(), Arc::default());
        let (mut nodes, mut enclaves) = (Vec::new(), Vec::new());
        for _ in 0..plan.enclaves {
            let boot = Boot::new(config.clone(), enclave_clock(&clock));
            let attester = attester(&machine, &plan, &reports);
            let keyed =
                boot.make_keys(attester, accelerators(&machine, &plan)).expect("keys are made");
            let loaded = match &model {
                Some(model) => keyed.front(model),
                None => keyed.load(Arc::clone(&plan.engine)),
            };
            let loaded = loaded.expect("the engine runs the configured model");
            let serving = loaded.attest().await.expect("the platform signs");
            nodes.push(serving.node_id());
            let (listener, address) = free_port().await;
            enclaves.push(address);
            let (stop, stopped) = shutdown();
            stops.push(stop);
            tokio::spawn(enclave::serve(listener, serving, stopped));
        }

        let urls: Vec<String> =
            enclaves.iter().map(|address| format!("http://{address}")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let mut config = router::Config::on_loopback(&urls).expect("the enclaves are on loopback");
        config.timeouts.poll = Duration::from_millis(20);
        config.keys = plan.keys;
        let (listener, router) = free_port().await;
        let (stop, stopped) = shutdown();
        stops.push(stop);
        tokio::spawn(router::serve(listener, config, stopped));

        let relay = Relay::start(router).await;
        let mut endorsements = machine.cpu.endorsements().clone();
        if let Some(devices) = &machine.devices {
            endorsements.extend(&devices.endorsements).expect("there is room");
        }
        let fleet = Self {
            relay,
            router,
            nodes,
            enclaves,
            policy,
            endorsements,
            reports,
            files,
            clock,
            _stops: stops,
        };
        fleet.until_ready().await;
        fleet
    }

    /// A policy from its text, which may name this fleet's roots: `ark.pem` and its like.
    pub fn read_policy(&self, text: &str) -> Policy {
        let read = |name: &str| {
            let file = self.files.iter().find(|(file, _)| file == name);
            file.map(|(_, bytes)| bytes.clone()).ok_or(format!("{name}: there is no such file"))
        };
        Policy::parse(text, &read).expect("the policy parses")
    }

    /// A client that goes through the relay, under this fleet's policy.
    pub fn client(&self) -> Client {
        self.client_under(self.read_policy(&self.policy))
    }

    /// The same under another policy.
    pub fn client_under(&self, policy: Policy) -> Client {
        self.builder(policy).build().expect("the relay is on loopback")
    }

    /// A client to be, for tests that want more of it.
    pub fn builder(&self, policy: Policy) -> client::Builder {
        let clock = Arc::clone(&self.clock);
        let clock = client::Clock::new(move || UnixTime::from_secs(clock.load(SeqCst)));
        // Whatever a script withholds, a test has its verdict soon.
        let timeouts = client::Timeouts {
            exchange: Duration::from_secs(20),
            head: Duration::from_secs(20),
            idle: Duration::from_secs(5),
            ..client::Timeouts::default()
        };
        Client::builder(&self.relay.url(), policy, clock).timeouts(timeouts)
    }

    /// What the clock of clients and enclaves says.
    pub fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.clock.load(SeqCst))
    }

    /// Moves the wall clock of clients and enclaves; the monotonic one goes its own way.
    pub fn advance(&self, by: Duration) {
        self.clock.fetch_add(by.as_secs(), SeqCst);
    }

    async fn until_ready(&self) {
        for _ in 0..1_000 {
            let (_, body) = self.relay.get("/v1/fleet").await;
            let fleet: Value = serde_json::from_slice(&body).unwrap_or_default();
            let nodes = fleet["nodes"].as_array().cloned().unwrap_or_default();
            if nodes.iter().filter(|node| node["ready"] == true).count() == self.nodes.len() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the fleet did not become ready");
    }
}

/// One question to [`MODEL`], its answer streamed.
pub fn question(prompt: &str) -> Chat {
    Chat::question(MODEL, prompt)
}

fn made(machine: Simulated, devices: (u8, u8), validity: Validity) -> Result<Made, SimError> {
    let made = match machine {
        Simulated::SevSnp => {
            let (pki, host) = SimulatedPlatform::shared(Product::Genoa, validity, [0x5a; 48])?;
            Made::sev_snp(&pki, host)?
        }
        Simulated::Tdx => {
            let pki = IntelPki::new(Arc::new(IntelKeys::generate()?), validity)?;
            Made::tdx(&pki, &Digest([0x5a; 48]), 1)?
        }
    };
    match devices {
        (0, 0) => Ok(made),
        (gpus, switches) => {
            made.with_devices(&Arc::new(NvidiaPki::generate(validity)?), gpus, switches)
        }
    }
}

fn enclave_config(plan: &Plan, machine: &Machine) -> enclave::Config {
    let upstream = plan.upstream.as_ref();
    let file = upstream.map_or_else(|| "model.gguf".into(), |front| front.model.clone());
    let weights = match upstream {
        Some(front) => Sha256::of(&std::fs::read(&front.model).expect("the model's file is there")),
        None => Digest(plan.engine.description().weights_sha256),
    };
    let table = upstream.map_or_else(String::new, |front| {
        let (kind, socket) = (front.kind, front.socket.display());
        format!("[upstream]\nkind = \"{kind}\"\naddress = \"unix:{socket}\"\nmodel = \"{MODEL}\"\n")
    });
    let accelerators =
        machine.devices.as_ref().map_or("", |_| "accelerators = \"platform.sock\"\n");
    let text = format!(
        "{}\n[platform]\nkind = \"socket\"\npath = \"platform.sock\"\n{accelerators}\
         [model]\npath = \"{}\"\nsha256 = \"{weights}\"\nnames = [\"{MODEL}\"]\n{table}",
        plan.config,
        file.display()
    );
    enclave::Config::parse(&text).expect("the harness writes configurations that parse")
}

fn files_of(config: &enclave::Config) -> VerifiedFiles {
    VerifiedFiles::read(&config.model, Path::new("")).expect("the files are those that were hashed")
}

fn accepted(
    config: &enclave::Config,
    engine: &dyn Engine,
    files: Option<&VerifiedFiles>,
) -> Accepted {
    let names = &config.model.names;
    let manifest = match (files, &config.upstream) {
        (Some(files), Some(settings)) => files.manifest(names, settings.kind),
        _ => enclave::model::manifest(names, engine.description()),
    };
    Accepted {
        manifest: Some(Sha256::of(&manifest.encode())),
        names: config.model.names.clone(),
        configs: vec![config.digest()],
    }
}

/// The guest's side of the simulated platform, without a socket.
fn attester(machine: &Arc<Machine>, plan: &Plan, reports: &Arc<AtomicUsize>) -> Box<dyn Attester> {
    let (machine, reports, takes) = (Arc::clone(machine), Arc::clone(reports), plan.report_takes);
    let endorsements = match plan.host {
        Host::Helpful => machine.cpu.endorsements().clone(),
        Host::Withholding => Endorsements::new(),
    };
    Box::new(move |report_data: &ReportData| -> Result<PlatformEvidence, CollectError> {
        // The collector gives it a thread of its own.
        std::thread::sleep(takes);
        let (cpu, event_log) = machine.cpu.sign(report_data).expect("the simulated CPU signs");
        reports.fetch_add(1, SeqCst);
        Ok(PlatformEvidence { cpu, event_log, endorsements: endorsements.clone() })
    })
}

/// The guest's accelerators, without a socket either.
fn accelerators(machine: &Arc<Machine>, plan: &Plan) -> Option<Box<dyn Accelerators>> {
    machine.devices.as_ref()?;
    let (machine, lie) = (Arc::clone(machine), plan.device_lie.clone());
    Some(Box::new(move |nonce: &Sha256| -> Result<AcceleratorEvidence, CollectError> {
        let devices = machine.devices.as_ref().ok_or(CollectError::Refused)?;
        let evidence = match &lie {
            Some(lie) => lie(devices, nonce),
            None => devices.evidence(nonce).expect("simulated devices sign"),
        };
        Ok(AcceleratorEvidence { evidence, endorsements: devices.endorsements.clone() })
    }))
}

fn enclave_clock(clock: &Arc<AtomicU64>) -> enclave::Clock {
    let clock = Arc::clone(clock);
    enclave::Clock::new(move || UnixTime::from_secs(clock.load(SeqCst)))
}

async fn free_port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    (listener, address)
}

/// A future that resolves when the sender is dropped.
fn shutdown() -> (oneshot::Sender<()>, impl Future<Output = ()> + Send + 'static) {
    let (stop, stopped) = oneshot::channel::<()>();
    (stop, async move { drop(stopped.await) })
}
