//! `veritee policy lint` and `veritee policy show`.

use std::process::ExitCode;

use client::{Family, anchor_reader, read_policy};
use verifier::policy::{Problem, Weight};

use crate::arguments::{Policy as Arguments, PolicyCommand};
use crate::failure::Failure;
use crate::output::Out;

/// Looks at a policy.
pub(crate) fn run(arguments: &Arguments, out: &Out) -> Result<ExitCode, Failure> {
    match &arguments.command {
        PolicyCommand::Lint { file } => {
            let text = read_policy(file)?;
            let problems = verifier::Policy::lint(&text, &anchor_reader(file));
            for Problem { weight, key, message } in &problems {
                let word = match weight {
                    Weight::Error => "error",
                    Weight::Warning => "warning",
                };
                out.line(format_args!("{word:<8} {key}: {message}"))?;
            }
            let errors = problems.iter().filter(|problem| problem.weight == Weight::Error).count();
            if errors == 0 {
                out.line(format_args!("{}: good", file.display()))?;
                return Ok(ExitCode::SUCCESS);
            }
            let message = format!("{}: refused, errors: {errors}", file.display());
            // What is no policy at all is malformed; what one must not rely on is rejected.
            let family = if verifier::Policy::parse(&text, &anchor_reader(file)).is_err() {
                Family::Malformed
            } else {
                Family::Rejected
            };
            Err(Failure::new(family, "policy-refused", message, "correct what is listed above"))
        }
        PolicyCommand::Show { file } => {
            out.text(client::load_policy(file)?.show())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
