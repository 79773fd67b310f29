//! The programs under load, and who kills them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tests::{
    programs::{Cores, Place, Running, quiet_port, signal, until_ready},
    scan::{Memory, Needle, Scanner},
};
use tokio::time::{Instant, sleep};

use crate::{
    figures::{Figures, say},
    random::{Random, lock},
};

/// All programs of one run.
#[derive(Debug)]
pub(crate) struct Stack {
    /// Where they write.
    pub(crate) place: Place,
    /// The policy that accepts both enclaves.
    pub(crate) policy: String,
    /// The key of well-behaved clients.
    pub(crate) key: String,
    /// The key of those who send bogus ciphertexts.
    pub(crate) bogus_key: String,
    pub(crate) enclaves: [Arc<Slot>; 2],
    pub(crate) router: Arc<Slot>,
    pub(crate) proxies: [Arc<Slot>; 2],
    figures: Arc<Figures>,
    kills: Mutex<BTreeMap<String, u64>>,
    platform: Mutex<Option<Running>>,
    /// For connections to the router.
    pub(crate) connector: tls::Connector,
}

/// One program: where it is, and when it was not.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) label: &'static str,
    pub(crate) address: SocketAddr,
    program: &'static str,
    arguments: Vec<String>,
    /// None while it is disturbed on purpose.
    running: Mutex<Option<Running>>,
    /// When it was last there again; none while it is not.
    back: Mutex<Option<Instant>>,
}

impl Stack {
    /// Starts everything and waits until the router calls both enclaves ready.
    pub(crate) async fn start(figures: Arc<Figures>) -> Self {
        let place = Place::new("soak");
        let platform = place.platform().await;
        let mut accepted = Vec::new();
        let addresses: Vec<SocketAddr> = (0..5).map(|_| quiet_port()).collect();
        let [first, second, router, one, two] = addresses[..] else { panic!("five programs") };
        // A key ends after a few thousand requests, so that keys rotate by number and, in a long run, by time.
        let limits =
            "requests_per_key = 4000\nupload_s = 5\nstall_s = 20\ndrain_s = 5\nanswer_s = 20";
        place.certificates();
        let limits = format!("{limits}\n[tls]\nrouter_spki = [\"{}\"]", place.identity().await);
        for (label, address, padding) in [("enclave-1", first, "p1"), ("enclave-2", second, "p2")] {
            let top = format!("epoch = \"10m\"\npadding = \"{padding}\"");
            let config = place.enclave_config(&format!("{label}.toml"), address, &top, &limits);
            accepted.push(place.digests(&config).await);
        }
        let policy = place.policy(&accepted).await;
        let generous = ["--requests-per-minute", "1000000", "--streams-max", "10000"];
        let (_, key) = place.add_key("clients", &generous).await;
        let bogus = [&generous[..], &["--failures-per-minute", "1000000"]].concat();
        let (_, bogus_key) = place.add_key("bogus", &bogus).await;
        let key_file = place.write("client.key", &key);
        place.write(
            "router.toml",
            format!(
                "listen = \"{router}\"\n[tls]\ncertificate = \"router.pem\"\nkey = \"router.key\"\n\
                 [identity]\ncertificate = \"identity.pem\"\nkey = \"identity.key\"\n\
                 [[enclaves]]\nurl = \"https://{first}\"\nspki_file = \"enclave-1.pins\"\n\
                 [[enclaves]]\nurl = \"https://{second}\"\nspki_file = \"enclave-2.pins\"\n\
                 [keys]\nfile = \"keys.toml\"\nreload_ms = 500\nunauthorized_per_minute = 100000\n\
                 [timeouts]\nupload_ms = 5000\nresponse_head_ms = 20000\nidle_ms = 20000\ndrain_ms = 5000\npoll_ms = 500\n"
            ),
        );
        let config =
            |label: &str| vec!["--config".to_owned(), place.path(&format!("{label}.toml"))];
        let enclaves = [
            Slot::new("enclave-1", "veritee-enclave", first, config("enclave-1")),
            Slot::new("enclave-2", "veritee-enclave", second, config("enclave-2")),
        ];
        let authorities = place.path("ca.pem");
        let options = |address: SocketAddr| {
            [
                "proxy",
                "--router",
                &format!("https://{router}"),
                "--router-ca",
                &authorities,
                "--policy",
                &policy,
                "--key-file",
                &key_file,
                "--listen",
                &address.to_string(),
            ]
            .map(str::to_owned)
            .to_vec()
        };
        let proxies = [
            Slot::new("proxy-1", "veritee", one, options(one)),
            Slot::new("proxy-2", "veritee", two, options(two)),
        ];
        let router = Slot::new("router", "veritee-router", router, config("router"));
        let platform = Mutex::new(Some(platform));
        let connector = tls::Servers::Authorities(read_authorities(&place));
        let connector = tls::Connector::new(connector, None, Duration::from_secs(10));
        let connector = connector.expect("an authority is one");
        let kills = Mutex::default();
        let stack = Self {
            place,
            policy,
            key,
            bogus_key,
            enclaves,
            router,
            proxies,
            figures,
            kills,
            platform,
            connector,
        };
        for slot in &stack.enclaves {
            stack.bring_up(slot).await;
        }
        stack.bring_up(&stack.router).await;
        until_ready(stack.router.address, Some(&stack.connector), 2).await;
        for slot in &stack.proxies {
            stack.bring_up(slot).await;
        }
        stack
    }

    /// The programs that are killed.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.enclaves.iter().chain([&self.router]).chain(&self.proxies)
    }

    /// Stops a program at random, by SIGKILL or in order, and starts it again after a moment.
    pub(crate) async fn strike(&self, random: &Random) {
        let slots: Vec<_> = self.slots().cloned().collect();
        let slot = random.of(&slots);
        if slot.program == "veritee-enclave" && random.below(2) == 0 {
            return self.strike_engine(slot, random).await;
        }
        let Some(running) = slot.take() else { return };
        let signal = if random.below(10) < 7 { "KILL" } else { "TERM" };
        {
            let mut kills = lock(&self.kills);
            let count = kills.entry(format!("{} by SIG{signal}", slot.label)).or_default();
            *count = count.saturating_add(1);
        }
        let begun = Instant::now();
        running.signal(signal).await;
        let status = running.wait().await;
        if signal == "TERM" && !status.success() {
            self.figures.broken(format!("{} was told to stop and ended with {status}", slot.label));
        }
        if begun.elapsed() > DRAIN_MAX {
            self.figures.broken(format!("{} took {:?} to stop", slot.label, begun.elapsed()));
        }
        sleep(Duration::from_millis(random.between(100, 3_000))).await;
        self.bring_up(slot).await;
    }

    /// Ends the process of an enclave's engine, or stops it until it is taken for dead; then another must follow.
    async fn strike_engine(&self, slot: &Slot, random: &Random) {
        let Some(first) = slot.engine() else {
            return self.figures.broken(format!("{} has no engine", slot.label));
        };
        let name = if random.below(8) == 0 { "STOP" } else { "KILL" };
        {
            let mut kills = lock(&self.kills);
            let count = kills.entry(format!("{}'s engine by SIG{name}", slot.label)).or_default();
            *count = count.saturating_add(1);
        }
        *lock(&slot.back) = None;
        signal(first, name).await;
        let begun = Instant::now();
        while slot.engine().is_none_or(|engine| engine == first) {
            if begun.elapsed() > HANG_MAX {
                self.figures.broken(format!("{} has no other engine after SIG{name}", slot.label));
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        *lock(&slot.back) = Some(Instant::now());
    }

    async fn bring_up(&self, slot: &Slot) {
        let arguments: Vec<&str> = slot.arguments.iter().map(String::as_str).collect();
        for _ in 0..10 {
            let mut running =
                self.place.start_as(slot.label, slot.program, &arguments, Cores::Default);
            match running.try_line().await {
                Ok(line) if line.starts_with("ready ") => {
                    if let Some((_, pin)) = line.split_once(" spki=") {
                        // What starts an enclave tells the router its new key; at once, so that no half of it is read.
                        let pins = self.place.write(&format!("{}.pins.new", slot.label), pin);
                        let place = self.place.path(&format!("{}.pins", slot.label));
                        std::fs::rename(pins, place).expect("a story's folder can be written to");
                    }
                    slot.put(running);
                    return;
                }
                Ok(line) => self.figures.broken(format!("{} said {line:?} first", slot.label)),
                Err(why) => self.figures.broken(format!("{} did not start: {why}", slot.label)),
            }
            sleep(Duration::from_secs(1)).await;
        }
        panic!("{} does not start any more", slot.label);
    }

    /// Whether any program was away at `since` or after, or shortly before: clients hold on to what they verified for a while.
    pub(crate) fn was_disturbed(&self, since: Instant) -> bool {
        let since = since.checked_sub(RECOVERY).unwrap_or(since);
        self.slots().any(|slot| slot.was_away(since))
    }

    /// Puts down what all programs use, and whether one ended by itself.
    pub(crate) fn look(&self) {
        for slot in self.slots() {
            let mut running = lock(&slot.running);
            let Some(process) = running.as_mut() else { continue };
            if let Some(status) = process.ended() {
                self.figures.broken(format!("{} ended by itself: {status}", slot.label));
                running.take();
            } else {
                self.figures.sample(slot.label, process.id());
                if let Some(engine) = process.engine() {
                    self.figures.sample(&format!("{}'s engine", slot.label), engine);
                }
            }
        }
    }

    /// Looks through the engines' memory for what prompts carried.
    pub(crate) fn hunt(&self, canary: &Needle) {
        for slot in &self.enclaves {
            let Some((server, engine)) = slot.id().zip(slot.engine()) else {
                self.figures.broken(format!("{} has no engine at the end", slot.label));
                continue;
            };
            // What each holds for as long as it runs is found, so the right octets are looked at.
            let config = slot.arguments.last().map_or("", String::as_str);
            self.search(canary, slot.label, server, config);
            let label = format!("{}'s engine", slot.label);
            self.search(canary, &label, engine, "/proc/self/exe\0--engine-process");
        }
    }

    fn search(&self, canary: &Needle, label: &str, id: u32, own: &str) {
        let own = Needle::new("its own argument", own);
        let scanner = Scanner::new(&[canary.clone(), own.clone()]);
        let Memory { found, octets } = scanner.memory(id);
        say(&format!("{label}: {octets} octets of memory looked through"));
        if !found.has(&own, "text") {
            self.figures.broken(format!("{label} could not be looked at"));
        }
        for (form, _) in canary.forms() {
            if found.has(canary, form) {
                self.figures.broken(format!("{label} keeps a prompt ({form})"));
            }
        }
    }

    /// Stops everything in order.
    pub(crate) async fn stop(&self) {
        let slots: Vec<_> = self.slots().cloned().collect();
        for slot in slots.iter().rev() {
            let Some(running) = slot.take() else {
                self.figures.broken(format!("{} is not there at the end", slot.label));
                continue;
            };
            let status = running.stop().await;
            if !status.success() {
                self.figures.broken(format!("{} ended with {status}", slot.label));
            }
        }
        let platform = lock(&self.platform).take();
        if let Some(platform) = platform {
            let status = platform.stop().await;
            if !status.success() {
                self.figures.broken(format!("the platform ended with {status}"));
            }
        }
        for slot in self.slots() {
            let log = self.place.log(slot.label);
            for line in log.lines().filter(|line| line.contains("panicked")).take(5) {
                self.figures.broken(format!("{} logged {line}", slot.label));
            }
        }
    }

    pub(crate) fn kills(&self) -> BTreeMap<String, u64> {
        lock(&self.kills).clone()
    }
}

/// Who vouches for the router's name.
pub(crate) fn read_authorities(place: &Place) -> tls::Authorities {
    let pem = std::fs::read(place.path("ca.pem")).expect("the authority was just made");
    tls::Authorities::from_pem(&pem).expect("an authority is one")
}

impl Slot {
    fn new(
        label: &'static str,
        program: &'static str,
        address: SocketAddr,
        arguments: Vec<String>,
    ) -> Arc<Self> {
        let (running, back) = (Mutex::new(None), Mutex::new(None));
        Arc::new(Self { label, address, program, arguments, running, back })
    }

    /// Takes the program out of sight: from here on it is away.
    fn take(&self) -> Option<Running> {
        let taken = lock(&self.running).take()?;
        *lock(&self.back) = None;
        Some(taken)
    }

    /// Its process, if it runs.
    fn id(&self) -> Option<u32> {
        lock(&self.running).as_ref().map(Running::id)
    }

    /// The process of its engine, if it is an enclave that runs and has one.
    fn engine(&self) -> Option<u32> {
        lock(&self.running).as_ref().and_then(Running::engine)
    }

    fn put(&self, running: Running) {
        *lock(&self.back) = Some(Instant::now());
        *lock(&self.running) = Some(running);
    }

    /// Whether it was away at `since` or after.
    pub(crate) fn was_away(&self, since: Instant) -> bool {
        lock(&self.back).is_none_or(|back| back >= since)
    }
}

/// How long after a restart a request may still meet what the restart left behind.
const RECOVERY: Duration = Duration::from_secs(8);

/// Longer than an engine that hangs is waited for, and the start of another.
const HANG_MAX: Duration = Duration::from_mins(2);

/// Longer than every drain that is configured here.
const DRAIN_MAX: Duration = Duration::from_secs(15);
