//! `veritee policy`: what a policy says, what is wrong with it, and who signed it.

use std::path::Path;
use std::process::ExitCode;

use client::{Family, anchor_reader, read_policy};
use verifier::policy::{Problem, Weight};

use crate::arguments::{Policy as Arguments, PolicyCommand};
use crate::failure::Failure;
use crate::output::Out;
use crate::world::World;
use crate::{input, rims, signing};

/// Looks at a policy, or makes something for one.
pub(crate) fn run(arguments: &Arguments, world: &World, out: &Out) -> Result<ExitCode, Failure> {
    match &arguments.command {
        PolicyCommand::Lint { file, endorsements, at } => {
            let endorsements = input::endorsements(endorsements)?;
            let now = at.unwrap_or_else(|| world.clock.now());
            let text = read_policy(file)?;
            let problems = verifier::Policy::lint(&text, &anchor_reader(file), &endorsements, now);
            for Problem { weight, key, message } in &problems {
                let weight = match weight {
                    Weight::Error => "error",
                    Weight::Warning => "warning",
                };
                out.line(format_args!("{weight:<8} {key}: {message}"))?;
            }
            let errors = problems.iter().filter(|problem| problem.weight == Weight::Error).count();
            if errors > 0 {
                return Err(refused(file, &text, errors));
            }
            out.line(format_args!("{}: good", file.display()))?;
        }
        PolicyCommand::Show { file, policy_key } => {
            out.text(load(file, policy_key.as_deref())?.show())?;
        }
        PolicyCommand::Keygen { file } => signing::keygen(file, out)?,
        PolicyCommand::Sign { file, key } => signing::sign(file, key, world, out)?,
        PolicyCommand::ImportRim(arguments) => rims::import(arguments, world, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The policy in `file`, signed by `key`'s owner where a key is given: then nothing else will do.
pub(crate) fn load(file: &Path, key: Option<&Path>) -> Result<verifier::Policy, Failure> {
    match key {
        None => Ok(client::load_policy(file)?),
        Some(key) => Ok(client::load_signed_policy(file, &client::read_policy_key(key)?)?),
    }
}

/// What is no policy at all is malformed; what one must not rely on is rejected.
pub(crate) fn refused(file: &Path, text: &str, errors: usize) -> Failure {
    let message = format!("{}: refused, errors: {errors}", file.display());
    let family = if verifier::Policy::parse(text, &anchor_reader(file)).is_err() {
        Family::Malformed
    } else {
        Family::Rejected
    };
    Failure::new(family, "policy-refused", message, "correct what is listed above")
}
