//! What a report says of authentic hardware, whole: a claim that is left out or wrong is seen.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail anywhere")]

mod fabric;
mod outcome;
mod tdx_world;
mod world;

use attestation::snp::Product;
use attestation::tdx::Form;
use serde_json::{Map, Value};
use verifier::Report;

use crate::fabric::Fabric;
use crate::outcome::report;
use crate::world::World;

/// The claims, but for what a run makes anew, which are keys and digests of what they signed; and of devices' measurements
/// the first ten.
fn claims(report: &Report, made: &[&str]) -> Value {
    let mut claims: Map<String, Value> = (*report.claims).clone();
    for made in made {
        assert!(claims.remove(*made).is_some(), "{made}");
    }
    for measurements in claims.values_mut().filter_map(|claim| claim.get_mut("measurements")) {
        measurements.as_object_mut().unwrap().retain(|index, _| index.len() == 1);
    }
    Value::Object(claims)
}

fn expected(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn of_sev_snp() {
    let mut world = World::new(Product::Genoa);
    world.report.guest_svn = 3;
    let outcome = world.judge();
    assert_eq!(
        claims(report(&outcome), &["crl", "binding"]),
        expected(include_str!("claims/vcek.json"))
    );
    let outcome = World::vlek(Product::Turin).judge();
    assert_eq!(
        claims(report(&outcome), &["crl", "binding"]),
        expected(include_str!("claims/vlek.json"))
    );
}

#[test]
fn of_tdx() {
    for (form, json) in [
        (Form::Td10, include_str!("claims/td10.json")),
        (Form::Td15Ex, include_str!("claims/td15-ex.json")),
    ] {
        let outcome = tdx_world::World::new(form).judge();
        assert_eq!(claims(report(&outcome), &["numbers"]), expected(json), "{form}");
    }
}

#[test]
fn of_nvidia() {
    let outcome = Fabric::hgx(1, 1).judge();
    assert_eq!(claims(report(&outcome), &[]), expected(include_str!("claims/devices.json")));
}

#[test]
fn claims_are_equal_that_say_the_same() {
    let [one, same, other] =
        [Fabric::hopper(), Fabric::hopper(), Fabric::blackwell()].map(|fabric| fabric.judge());
    let [one, same, other] = [&one, &same, &other].map(|outcome| &report(outcome).claims);
    assert!(one == same && one != other);
}
