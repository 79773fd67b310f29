//! What a mebibyte of malice costs a verifier in time. (What it costs in memory is a test: `tests/parsers/cost.rs`.)

use tests::hostile::inputs;

use crate::harness::{Bench, Clock, Contest, Outcome, repeat};

pub(crate) const NAMES: &[&str] = &["verify.hostile"];

pub(crate) fn figures(bench: &mut Bench) -> Outcome {
    if !bench.wants("verify.hostile") {
        return Ok(());
    }
    let inputs = inputs();
    let mut costs: Vec<_> = inputs
        .iter()
        .map(|hostile| {
            let contest = Contest::new("verify.hostile", Clock::Thread, repeat(|| hostile.judge()))
                .at_most(8);
            (contest.target("10 ms").run(), hostile.name)
        })
        .collect();
    costs.sort_by(|(one, _), (other, _)| other.ours.median.total_cmp(&one.ours.median));
    let listed: Vec<_> = costs
        .iter()
        .take(5)
        .map(|(figure, name)| format!("{name}, {:.1} ms", figure.ours.median / 1e6))
        .collect();
    let (mut worst, _) = costs.into_iter().next().ok_or("no hostile input")?;
    worst.notes.push(format!("the worst of {} shapes: {}", inputs.len(), listed.join("; ")));
    bench.print(&worst);
    Ok(())
}
