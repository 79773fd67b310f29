//! `veritee endorsements`: fetch, bundle, status; and what `veritee verify` fetches.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use attestation::snp::Product;
use attestation::{Endorsements, Malformed};
use client::{Endorser, Family, Finding, Found, Search, Unendorsed};
use endorsements::{
    AmdKey, Config, Fetcher, Health, Item, Kind, Marks, MarksUnusable, Mode, Needs, Obtained,
    Origin, Step, Store, Unavailable, Update, Vendor, Why, pool,
};
use serde_json::{Value, json};
use verifier::{AnchorKind, Report, Severity, Verdict};

use crate::arguments::{
    Bundle, Endorsements as Arguments, EndorsementsCommand, Fetch, ProductName, Series, Status,
    Wanted,
};
use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;
use crate::{files, input, summary};

pub(crate) async fn run(
    arguments: Arguments,
    world: &World,
    out: &Out,
) -> Result<ExitCode, Failure> {
    match arguments.command {
        EndorsementsCommand::Fetch(fetch) => self::fetch(&fetch, world, out).await,
        EndorsementsCommand::Bundle(bundle) => self::bundle(&bundle, world, out).await,
        EndorsementsCommand::Status(status) => self::status(&status, world, out),
    }
}

async fn fetch(arguments: &Fetch, world: &World, out: &Out) -> Result<ExitCode, Failure> {
    let Fetch { wanted, rim, output, fresh, services, json } = arguments;
    let fetcher = fetcher(services.services.as_deref(), wanted.update, world)?;
    let mut needs = needs(wanted, &fetcher)?.unwrap_or_default();
    for id in rim {
        let refused =
            |error: Malformed| Failure::usage(error.to_string(), "give an id as NVIDIA has it");
        needs.items.push(Item::rim(id).map_err(refused)?);
    }
    if needs.items.is_empty() {
        return Err(nothing_wanted(&needs));
    }
    let mode = if *fresh { Mode::Fresh } else { Mode::Cached };
    let tell = |step: Step| told(out, &step);
    let results = fetcher.obtain_all(&needs.items, mode, &tell).await;
    if let Some(folder) = output {
        write_manifests(folder, &results)?;
    }
    if *json {
        let items: Vec<Value> = needs.items.iter().zip(&results).map(as_json).collect();
        out.json(json!({ "items": items, "notes": needs.notes }))?;
    } else {
        for note in &needs.notes {
            out.note(note);
        }
        for result in &results {
            out.line(line(result))?;
        }
    }
    let failed = results.iter().any(Result::is_err);
    Ok(ExitCode::from(if failed { Family::Unavailable.exit_code() } else { 0 }))
}

async fn bundle(arguments: &Bundle, world: &World, out: &Out) -> Result<ExitCode, Failure> {
    let Bundle { wanted, output, offline, services } = arguments;
    if output != "-" {
        files::check_place(Path::new(output))?;
    }
    let fetcher = fetcher(services.services.as_deref(), wanted.update, world)?;
    let documents = match needs(wanted, &fetcher)? {
        Some(needs) if needs.items.is_empty() => return Err(nothing_wanted(&needs)),
        Some(needs) => {
            for note in &needs.notes {
                out.note(note);
            }
            let mode = if *offline { Mode::Offline } else { Mode::Cached };
            let tell = |step: Step| told(out, &step);
            let results = fetcher.obtain_all(&needs.items, mode, &tell).await;
            let (documents, failures): (Vec<_>, Vec<_>) =
                results.into_iter().partition(Result::is_ok);
            let failures: Vec<Unavailable> = failures.into_iter().filter_map(Result::err).collect();
            if let Some(failure) = not_had(&failures) {
                return Err(failure);
            }
            documents.into_iter().flatten().map(|one| one.document).collect()
        }
        None => fetcher.kept().map_err(|error| unreadable(&error))?,
    };
    let pool = pool(&documents).map_err(|error| too_much(&error))?;
    if pool.is_empty() {
        let next = "fetch some first, where there is a network, with `veritee endorsements fetch EVIDENCE`; or name evidence, --product or --fmspc";
        return Err(Failure::unavailable("nothing-kept", "nothing is kept".to_owned(), next));
    }
    let pem = pool.to_pem();
    if output == "-" {
        out.text(pem)?;
    } else {
        files::replace(Path::new(output), pem.as_bytes())?;
        let kept = documents.len();
        out.note(format_args!("{output}: {kept} documents, {} octets", pem.len()));
    }
    Ok(ExitCode::SUCCESS)
}

fn status(arguments: &Status, world: &World, out: &Out) -> Result<ExitCode, Failure> {
    let fetcher = fetcher(arguments.services.services.as_deref(), None, world)?;
    let entries = fetcher.status().map_err(|error| unreadable(&error))?;
    let seen = fetcher.marks().all().map_err(|error| marks_unusable(&error))?;
    let untrusted = marks(AnchorKind::Untrusted, world)?.all();
    let untrusted = untrusted.map_err(|error| marks_unusable(&error))?;
    if arguments.json {
        let entries = serde_json::to_value(&entries)
            .map_err(|error| Failure::bug(format!("a status is not JSON: {error}")))?;
        out.json(json!({
            "kept": entries,
            "evaluation_numbers": seen,
            "untrusted_evaluation_numbers": untrusted,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for entry in &entries {
        let health = match entry.health {
            Health::Fresh => "fresh",
            Health::Due => "due",
            Health::Ended => "ended",
            Health::Damaged => "damaged",
        };
        let time = |time: Option<attestation::UnixTime>| {
            time.map_or_else(|| "never".to_owned(), |time| time.to_string())
        };
        out.line(format_args!(
            "{health:<8} {}\n         ends {}, fetched again from {}, {} octets from {}",
            entry.item,
            time(entry.ends),
            time(entry.refresh_at),
            entry.len,
            entry.source,
        ))?;
    }
    for (item, number) in seen {
        out.line(format_args!("seen     {item}: evaluation {number}"))?;
    }
    for (item, number) in untrusted {
        out.line(format_args!(
            "seen     {item}: evaluation {number}, under roots of a policy's own"
        ))?;
    }
    if entries.is_empty() {
        out.note("nothing is kept");
    }
    Ok(ExitCode::SUCCESS)
}

/// Who fetches for `veritee verify`, `chat` and `proxy`.
#[derive(Clone, Debug)]
pub(crate) struct Online {
    /// For evidence under the vendors' own roots.
    fetcher: Arc<Fetcher>,
    /// For evidence under a policy's own, with a memory of its own.
    untrusted: Arc<Fetcher>,
    mode: Mode,
}

impl Online {
    /// As configured; `offline` takes what is kept and asks nobody.
    pub(crate) fn new(
        services: Option<&Path>,
        offline: bool,
        world: &World,
    ) -> Result<Self, Failure> {
        let config = config(services, None, world)?;
        let of = |anchors| fetcher_of(config.clone(), marks(anchors, world)?, world).map(Arc::new);
        Ok(Self {
            fetcher: of(AnchorKind::Production)?,
            untrusted: of(AnchorKind::Untrusted)?,
            mode: if offline { Mode::Offline } else { Mode::Cached },
        })
    }

    /// A search for what `case` needs beyond what was given; `None` where none of it would answer what
    /// its report misses.
    ///
    /// Vendors have nothing to say of roots that are not theirs: where a policy brings its own, only
    /// mirrors that were configured are asked.
    pub(crate) fn hunt(&self, case: &Unendorsed<'_>) -> Option<Hunt> {
        let Unendorsed { evidence, given, policy, report } = *case;
        let fetcher = match policy.anchors() {
            AnchorKind::Production => &self.fetcher,
            AnchorKind::Untrusted => &self.untrusted,
        };
        let config = fetcher.config();
        // What is malformed the verifier says better.
        let mut needs = Needs::of(evidence, given, None, config.update()).ok()?;
        if policy.anchors() == AnchorKind::Untrusted {
            needs.items.retain(|item| config.is_mirrored(item.vendor()));
        }
        let helps = needs.items.iter().any(|item| is_missing(item, report));
        let (fetcher, mode) = (Arc::clone(fetcher), self.mode);
        let (obtained, failures, asked) = (Vec::new(), Vec::new(), Mutex::default());
        helps.then(|| Hunt { fetcher, mode, needs, obtained, failures, asked })
    }
}

impl Endorser for Online {
    fn search(&self, case: &Unendorsed<'_>) -> Option<Box<dyn Search>> {
        self.hunt(case).map(|hunt| -> Box<dyn Search> { Box::new(hunt) })
    }
}

/// What one evidence needs, and what was fetched of it.
pub(crate) struct Hunt {
    fetcher: Arc<Fetcher>,
    mode: Mode,
    needs: Needs,
    obtained: Vec<Obtained>,
    failures: Vec<Unavailable>,
    /// Services that were told of.
    asked: Mutex<BTreeSet<String>>,
}

impl Hunt {
    /// Fetches what answers the findings of `report`, and was not asked for before.
    pub(crate) async fn complete(&mut self, report: &Report, out: &Out) -> Found {
        let wanted: Vec<Item> =
            self.needs.items.extract_if(.., |item| is_missing(item, report)).collect();
        if wanted.is_empty() {
            return Found::default();
        }
        let asked = &self.asked;
        let tell = |step: Step| told_once(out, &step, asked);
        let results = self.fetcher.obtain_all(&wanted, self.mode, &tell).await;
        let before = self.obtained.len();
        let not_had_before = self.failures.len();
        let mut failures = Vec::new();
        for result in results {
            match result {
                Ok(obtained) => {
                    note(out, &obtained);
                    self.obtained.push(obtained);
                }
                Err(unavailable) => {
                    failures.push(unavailable.to_string());
                    self.failures.push(unavailable);
                }
            }
        }
        for why in summary::not_had(self.failures.get(not_had_before..).unwrap_or_default()) {
            out.note(why);
        }
        if self.obtained.len() == before {
            return Found { endorsements: None, failures };
        }
        match pool(self.obtained.iter().map(|one| &one.document)) {
            Ok(endorsements) => Found { endorsements: Some(endorsements), failures },
            Err(error) => {
                failures.push(error.to_string());
                Found { endorsements: None, failures }
            }
        }
    }

    /// Why documents could not be had, in few sentences.
    pub(crate) fn not_had(&self) -> Vec<String> {
        summary::not_had(&self.failures)
    }

    /// Remembers evaluation numbers that an accepted verdict rests on.
    pub(crate) fn remember(&self, report: &Report) -> Result<(), MarksUnusable> {
        if report.verdict != Verdict::Accepted {
            return Ok(());
        }
        for Obtained { item, document, .. } in &self.obtained {
            let claim = match item.vendor() {
                Vendor::Intel if document.parts().iter().any(|part| part.kind == Kind::TcbInfo) => {
                    "tcb_evaluation"
                }
                Vendor::Intel
                    if document.parts().iter().any(|part| part.kind == Kind::QeIdentity) =>
                {
                    "qe_identity_evaluation"
                }
                Vendor::Amd | Vendor::Intel | Vendor::Nvidia => continue,
            };
            let claimed = report.claims.get(claim).and_then(Value::as_u64);
            // The one that was used may be another's, given beside it.
            if let Some(number) = document.number().filter(|number| claimed == Some(*number)) {
                self.fetcher.marks().raise(item, number)?;
            }
        }
        Ok(())
    }
}

impl Search for Hunt {
    fn find<'a>(&'a mut self, report: &'a Report) -> Finding<'a> {
        // Remarks go where those of every command go.
        Box::pin(async move { self.complete(report, &Out::standard()).await })
    }

    fn accepted(&self, report: &Report) -> Result<(), client::Error> {
        self.remember(report).map_err(|error| client::Error::Memory {
            path: self.fetcher.marks().path().display().to_string(),
            why: error.to_string(),
        })
    }
}

/// Whether having `item` may answer a finding that refuses.
fn is_missing(item: &Item, report: &Report) -> bool {
    let mut refusing = report.findings.iter().filter(|found| found.severity == Severity::Reject);
    refusing.any(|found| item.answers(found.code.as_str()))
}

fn config(
    services: Option<&Path>,
    update: Option<Series>,
    world: &World,
) -> Result<Config, Failure> {
    let next = "docs/operations.md shows every key";
    let refused = |error: endorsements::ConfigError| Failure::usage(error.to_string(), next);
    let usual = world.config().map(|folder| folder.join("endorsements.toml"));
    let config = match (services, usual.filter(|path| path.exists())) {
        (Some(path), _) => Config::load(path).map_err(refused)?,
        (None, Some(path)) => Config::load(&path).map_err(refused)?,
        (None, None) => Config::vendors(),
    };
    Ok(match update {
        Some(Series::Early) => config.with_update(Update::Early),
        Some(Series::Standard) => config.with_update(Update::Standard),
        None => config,
    })
}

fn fetcher(
    services: Option<&Path>,
    update: Option<Series>,
    world: &World,
) -> Result<Fetcher, Failure> {
    fetcher_of(config(services, update, world)?, marks(AnchorKind::Production, world)?, world)
}

/// The memory of evaluation numbers. Whoever makes roots of his own makes any number: it must not count
/// against Intel's.
fn marks(anchors: AnchorKind, world: &World) -> Result<Marks, Failure> {
    let folder = world.state()?.join("endorsements");
    Ok(Marks::in_folder(match anchors {
        AnchorKind::Production => folder,
        AnchorKind::Untrusted => folder.join("untrusted"),
    }))
}

fn fetcher_of(config: Config, marks: Marks, world: &World) -> Result<Fetcher, Failure> {
    let store = Store::new(world.cache()?.join("endorsements"));
    Fetcher::new(config, store, marks, Arc::new(world.clone()))
        .map_err(|error| Failure::bug(error.to_string()))
}

/// What is asked for, or `None` where nothing is.
fn needs(wanted: &Wanted, fetcher: &Fetcher) -> Result<Option<Needs>, Failure> {
    let Wanted { evidence, product, fmspc, update: _ } = wanted;
    if evidence.is_none() && product.is_empty() && fmspc.is_empty() {
        return Ok(None);
    }
    let update = fetcher.config().update();
    let mut needs = Needs::default();
    let products: Vec<Product> = product.iter().map(|name| name.product()).collect();
    if let Some(evidence) = evidence {
        let bytes = input::evidence(evidence)?;
        let given = Endorsements::new();
        let of = Needs::of(&bytes, &given, products.first().copied(), update);
        needs.extend(of.map_err(|error| {
            let next = "give evidence of a kind that `veritee verify` takes";
            Failure::new(Family::Malformed, "evidence-malformed", error.to_string(), next)
        })?);
    } else {
        for product in products {
            for key in AmdKey::ALL {
                needs.extend(Needs::of_product(product, key));
            }
        }
    }
    for text in fmspc {
        let mut family = [0; 6];
        hex::decode_to_slice(text, &mut family).map_err(|_| {
            let next = "`veritee explain` shows the FMSPC of a quote";
            Failure::usage(format!("{text} is not 12 hex digits"), next)
        })?;
        needs.extend(Needs::of_family(family, update));
    }
    Ok(Some(needs))
}

impl ProductName {
    const fn product(self) -> Product {
        match self {
            Self::Milan => Product::Milan,
            Self::Genoa => Product::Genoa,
            Self::Turin => Product::Turin,
        }
    }
}

fn told(out: &Out, step: &Step) {
    match step {
        Step::Asking { item, url } => out.note(format_args!("asking for {item}: {url}")),
        Step::Waiting { item, wait, why } => out.note(format_args!(
            "{item}: {why}; again in {} s",
            wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
        )),
        Step::Damaged { item } => out.note(format_args!("{item}: what was kept is damaged")),
    }
}

/// The same in one line for each vendor: who judges wants to know who is asked, and not each document.
fn told_once(out: &Out, step: &Step, asked: &Mutex<BTreeSet<String>>) {
    match step {
        Step::Asking { item, url } => {
            let (vendor, place) = (summary::vendor(item), summary::place(url));
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.insert(format!("{vendor} {place}")) {
                out.note(format_args!("asking {vendor}'s service for what is missing: {place}"));
            }
        }
        // The wait is short, or what fails after it is told.
        Step::Waiting { .. } => {}
        Step::Damaged { .. } => told(out, step),
    }
}

/// What the reader should know of a document that is used.
fn note(out: &Out, obtained: &Obtained) {
    match &obtained.origin {
        Origin::Network | Origin::Cache => {}
        Origin::NotKept(why) => {
            out.note(format_args!("{}: cannot be kept: {why}", obtained.item));
        }
        Origin::CacheAfter(why) => {
            out.note(format_args!("{}: the one that is kept is used: {why}", obtained.item));
        }
    }
}

const fn outcome(origin: &Origin) -> &'static str {
    match origin {
        Origin::Network => "fetched",
        Origin::NotKept(_) => "fetched-not-kept",
        Origin::Cache => "kept",
        Origin::CacheAfter(_) => "kept-service-failed",
    }
}

fn line(result: &Result<Obtained, Unavailable>) -> String {
    match result {
        Ok(obtained) => {
            let ends = obtained.document.window().ends;
            let ends = ends.map_or_else(|| "never".to_owned(), |ends| ends.to_string());
            let why = match &obtained.origin {
                Origin::Network | Origin::Cache => String::new(),
                Origin::NotKept(why) => format!(" ({why})"),
                Origin::CacheAfter(why) => format!(" ({why})"),
            };
            let outcome = outcome(&obtained.origin);
            format!("{outcome:<20} {}, ends {ends}{why}", obtained.item)
        }
        Err(unavailable) => format!("{:<20} {unavailable}", "unavailable"),
    }
}

fn as_json((item, result): (&Item, &Result<Obtained, Unavailable>)) -> Value {
    match result {
        Ok(obtained) => json!({
            "item": item.name(),
            "outcome": outcome(&obtained.origin),
            "source": obtained.source,
            "fetched_at": obtained.fetched_at,
            "ends": obtained.document.window().ends,
            "refresh_at": obtained.refresh_at,
            "number": obtained.document.number(),
            "code": match &obtained.origin {
                Origin::CacheAfter(why) => Some(why.code()),
                Origin::Network | Origin::Cache | Origin::NotKept(_) => None,
            },
        }),
        Err(unavailable) => json!({
            "item": item.name(),
            "outcome": "unavailable",
            "source": unavailable.url,
            "code": unavailable.code(),
            "message": unavailable.why.to_string(),
        }),
    }
}

/// Manifests, as `veritee policy import-rim` takes them.
fn write_manifests(
    folder: &Path,
    results: &[Result<Obtained, Unavailable>],
) -> Result<(), Failure> {
    for obtained in results.iter().flatten() {
        let Item::NvidiaRim { id } = &obtained.item else { continue };
        for part in obtained.document.parts() {
            let path = folder.join(format!("{id}.xml"));
            files::replace(&path, &part.bytes)?;
        }
    }
    Ok(())
}

fn nothing_wanted(needs: &Needs) -> Failure {
    let message = match needs.notes.first() {
        Some(note) => note.clone(),
        None => "nothing is asked for".to_owned(),
    };
    Failure::usage(message, "name evidence, --product, --fmspc or --rim")
}

/// Why some documents could not be had, if so.
fn not_had(failures: &[Unavailable]) -> Option<Failure> {
    let first = failures.first()?;
    let next = if failures.iter().all(|failure| failure.why == Why::Offline) {
        "leave --offline out, or fetch them first, where there is a network, with `veritee endorsements fetch`"
    } else {
        "try again later, or name a mirror with --services"
    };
    let message = summary::not_had(failures).join("; ");
    Some(Failure::unavailable(first.code(), message, next))
}

fn too_much(error: &Malformed) -> Failure {
    let next = "ask for fewer at once";
    Failure::new(Family::Usage, "endorsements-too-many", error.to_string(), next)
}

pub(crate) fn marks_unusable(error: &MarksUnusable) -> Failure {
    let next = "repair or remove the file: what it remembers is lost with it";
    Failure::unavailable("marks-unusable", error.to_string(), next)
}

fn unreadable(error: &std::io::Error) -> Failure {
    let message = format!("the folder of endorsements cannot be read: {error}");
    Failure::unavailable("cache-unreadable", message, "make it readable, or remove it")
}
