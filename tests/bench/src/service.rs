//! What `veritee-verifier` takes for a verdict, beside the library's appraisal and one signature.
//!
//! The program is the one that is shipped, in a process of its own; what it takes is the processor time
//! of all its threads, in the kernel too. Callers are connections of this process that are kept open:
//! each sends what it asks as soon as it was answered.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use attestation::{SealingKey, UnixTime};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use verifier::ChainCache;

use crate::evidence::{CHALLENGE, Enclave};
use crate::harness::{Bench, Clock, Contest, Failed, Outcome, Runner, repeat};
use crate::program::{Folder, Program};
use crate::tdx::{self, Case};
use crate::verify;

pub(crate) const NAMES: &[&str] = &["service.cpu", "service.cpu_tdx"];

/// Connections that ask at the same time.
const CALLERS: usize = 4;
/// Octets that are signed: about as many as a token has.
const SIGNED_LEN: usize = 4 << 10;

pub(crate) fn figures(bench: &mut Bench) -> Outcome {
    // The program reads the clock, so the evidence is of now.
    let now = UnixTime::from_secs(Clock::Calendar.now().as_secs());
    let enclave = Enclave::at(now, &SealingKey::new(1, &[7; attestation::keys::XWING_PUBLIC_LEN]))?;
    let quote = Case::at(now)?;
    let folder = Folder::new()?;
    folder.write("policies/ark.pem", enclave.pki.ark())?;
    folder.write("policies/snp.toml", &enclave.policy_text)?;
    folder.write("policies/root.der", &quote.root)?;
    folder.write("policies/tdx.toml", &quote.policy_text)?;
    folder.write("intel.pem", quote.endorsements.inspect_untrusted().to_pem())?;
    let program = Program::start(
        "veritee-verifier",
        &folder,
        "listen = \"127.0.0.1:0\"\npolicies = \"policies\"\nendorsements = [\"intel.pem\"]\n",
    )?;
    let chains = ChainCache::default();
    if bench.wants("service.cpu") {
        let bundle: Value = serde_json::from_slice(enclave.evidence.inspect_untrusted().as_wire())?;
        let asked = json!({
            "policy": "simulation", "evidence": bundle, "challenge": CHALLENGE.to_string(),
        });
        let library = || verify::judge_at(now, &enclave, &chains);
        compare(bench, "service.cpu", &program, &asked, "a bundle of SEV-SNP", library)?;
    }
    if bench.wants("service.cpu_tdx") {
        let asked = json!({
            "policy": "bench", "evidence": sim::nvidia::base64(&quote.quote),
            "report_data": attestation::Digest(tdx::REPORT_DATA.0).to_string(),
        });
        let about = "a TDX quote in base64; endorsements are files of the service's";
        let library = || quote.judge(&chains);
        compare(bench, "service.cpu_tdx", &program, &asked, about, library)?;
    }
    Ok(())
}

fn compare(
    bench: &mut Bench,
    name: &str,
    program: &Program,
    asked: &Value,
    about: &str,
    library: impl Fn(),
) -> Outcome {
    let request = request(program, &asked.to_string());
    let mut callers =
        (0..CALLERS).map(|_| Caller::connect(program)).collect::<Result<Vec<_>, _>>()?;
    for caller in &mut callers {
        caller.send(&request)?;
        let answer = caller.receive()?;
        if !contains(&answer, b"\"verdict\":\"accepted\"") {
            return Err(format!("refused: {}", String::from_utf8_lossy(&answer)).into());
        }
    }
    let answer_len = callers.first_mut().map_or(Ok(0), |caller| {
        caller.send(&request)?;
        caller.receive().map(|answer| answer.len())
    })?;
    let mut alone = Caller::connect(program)?;
    let one = Contest::new(
        "",
        Clock::Process,
        served(program, std::slice::from_mut(&mut alone), &request),
    );
    let one = one.run().ours.median / 1000.0;
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let random = SystemRandom::new();
    let floor = || {
        library();
        pair.sign(&random, &[0x2e; SIGNED_LEN]).expect("a key of our own signs")
    };
    let contest = Contest::new(name, Clock::Process, served(program, &mut callers, &request))
        .floor(repeat(floor))
        .target("overfloor <= 1.5")
        .note(format!(
            "{about}: {} octets asked, {answer_len} answered, {CALLERS} connections that are kept; alone on one, {one:.0} us",
            request.len(),
        ))
        .note("floor: the library's warm appraisal of the same, and one ES256 signature");
    bench.compare(contest);
    Ok(())
}

/// So many verdicts of the service, and the processor time that it took for them.
fn served<'a>(program: &'a Program, callers: &'a mut [Caller], request: &'a [u8]) -> Runner<'a> {
    Box::new(move |_, count| {
        let before = program.processor_time().expect("the service runs");
        asked(callers, request, count).expect("the service answers");
        let after = program.processor_time().expect("the service runs");
        after.saturating_sub(before)
    })
}

/// Asks so many times; all callers wait for their answers at the same time.
fn asked(callers: &mut [Caller], request: &[u8], count: usize) -> Outcome {
    let mut left = count;
    for caller in callers.iter_mut().take(count) {
        caller.send(request)?;
        left = left.saturating_sub(1);
    }
    let under_way = usize::min(count, callers.len());
    while left > 0 {
        for caller in callers.iter_mut() {
            if left == 0 {
                break;
            }
            caller.receive()?;
            caller.send(request)?;
            left = left.saturating_sub(1);
        }
    }
    // Every caller has exactly one question open.
    callers.iter_mut().take(under_way).try_for_each(|caller| caller.receive().map(drop))
}

fn request(program: &Program, body: &str) -> Vec<u8> {
    let (host, len) = (program.address, body.len());
    let head = format!(
        "POST /v1/appraise HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n"
    );
    (head + body).into_bytes()
}

/// A connection that is kept open.
struct Caller {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Caller {
    fn connect(program: &Program) -> Result<Self, Failed> {
        let stream = TcpStream::connect(program.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream, read: vec![0; 64 << 10] })
    }

    fn send(&mut self, request: &[u8]) -> Outcome {
        Ok(self.stream.write_all(request)?)
    }

    /// The body of an answer.
    fn receive(&mut self) -> Result<Vec<u8>, Failed> {
        let mut answer = Vec::new();
        loop {
            let count = self.stream.read(&mut self.read)?;
            if count == 0 {
                return Err("the service closed the connection".into());
            }
            answer.extend_from_slice(self.read.get(..count).unwrap_or_default());
            if let Some(body) = whole(&answer)? {
                return Ok(body);
            }
        }
    }
}

/// The body, once all of it is there.
fn whole(answer: &[u8]) -> Result<Option<Vec<u8>>, Failed> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|at| at == END) else { return Ok(None) };
    let (head, body) = answer.split_at(end.saturating_add(END.len()));
    let head = str::from_utf8(head)?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("the service said {head}").into());
    }
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let len: usize = len.ok_or("an answer without a length")?.parse()?;
    Ok((body.len() >= len).then(|| body.to_vec()))
}

fn contains(octets: &[u8], part: &[u8]) -> bool {
    octets.windows(part.len()).any(|at| at == part)
}
