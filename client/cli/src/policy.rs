//! `veritee policy`: what a policy says, what is wrong with it, and who signed it.

use std::path::Path;
use std::process::ExitCode;

use client::{Family, anchor_reader, read_policy};
use verifier::policy::{PolicyKey, Problem, Weight};

use crate::arguments::{Policy as Arguments, PolicyCommand};
use crate::failure::Failure;
use crate::input::Input;
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
            out.text(load(file, policy_key.as_deref())?.policy.show())?;
        }
        PolicyCommand::Keygen { file } => signing::keygen(file, out)?,
        PolicyCommand::Sign { file, key } => signing::sign(file, key, world, out)?,
        PolicyCommand::ImportRim(arguments) => rims::import(arguments, world, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A policy, and what it was read from.
pub(crate) struct Loaded {
    pub(crate) policy: verifier::Policy,
    /// Its exact text.
    pub(crate) text: String,
    /// Every file of it, for somebody else to tell whether they have the same.
    pub(crate) inputs: Vec<Input>,
}

/// The policy in `file`, signed by `key`'s owner where a key is given: then nothing else will do.
pub(crate) fn load(file: &Path, key: Option<&Path>) -> Result<Loaded, Failure> {
    let key = key.map(|path| Ok::<_, Failure>((path, signer(path)?))).transpose()?;
    let signed_by = key.as_ref().map(|(_, (_, signer))| signer);
    let client::PolicyFiles { policy, text, named } = client::load_policy_files(file, signed_by)?;
    let mut inputs = vec![Input::of("policy", file.display().to_string(), text.as_bytes())];
    let folder = file.parent().unwrap_or(Path::new(""));
    inputs.extend(named.iter().map(|(name, bytes)| {
        Input::of("file of the policy", folder.join(name).display().to_string(), bytes)
    }));
    if let Some((path, (pem, _))) = &key {
        inputs.push(Input::of("key of policies", path.display().to_string(), pem.as_bytes()));
    }
    Ok(Loaded { policy, text, inputs })
}

/// The public key of whoever signs policies.
fn signer(path: &Path) -> Result<(String, PolicyKey), Failure> {
    let pem = read_policy(path)?;
    if pem.contains("PRIVATE KEY-----") {
        let message = format!(
            "{} holds a private key, and whoever relies on policies needs the public one",
            path.display()
        );
        let next = "name the file beside it that ends in .pub, and hand out no other";
        return Err(Failure::usage(message, next));
    }
    let key = PolicyKey::from_pem(&pem).map_err(|malformed| {
        let message = format!("{}: {malformed}", path.display());
        let next = "name the public key that `veritee policy keygen` wrote: it ends in .pub";
        Failure::new(Family::Malformed, "policy-malformed", message, next)
    })?;
    Ok((pem, key))
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
