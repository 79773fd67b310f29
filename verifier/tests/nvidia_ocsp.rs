//! NVIDIA's devices, first stage: what its OCSP service says of a chain, and who may say it. Each case starts from
//! accepted evidence and fails because of one thing.

use core::time::Duration;

use sim::certificate::Extension;
use sim::der::{self, oid};
use sim::nvidia::{Signer, Status};
use verifier::{Code, Severity, Verdict};

use crate::fabric::{Fabric, NOW, codes, each_is_accepted, each_is_refused, report};

mod fabric;
mod outcome;

const HOUR: Duration = Duration::from_hours(1);
const EXTENDED_KEY_USAGE: der::Oid = &[2, 5, 29, 37];

#[test]
fn check_5_nothing_is_decided_without_an_answer() {
    for place in 1..=3 {
        let mut fabric = Fabric::hopper();
        fabric.say(place, |_| Vec::new());
        let outcome = fabric.judge();
        assert_eq!(codes(report(&outcome), Severity::Reject), [Code::OcspMissing], "{place}");
        assert_eq!(report(&outcome).verdict, Verdict::Unavailable, "{place}");
        fabric.set("nvidia-gpu", "revocation", "if-present");
        let outcome = fabric.judge();
        assert!(outcome.is_ok(), "{place}");
        assert!(codes(report(&outcome), Severity::Warn).contains(&Code::OcspMissing), "{place}");
    }
}

#[test]
fn check_5_what_nvidia_takes_back_is_refused() {
    for place in 1..=3 {
        let status = |status: Status| {
            move |f: &mut Fabric| f.change(place, move |r| r.answers[0].status = status)
        };
        each_is_refused(
            Fabric::hopper,
            &[
                ("revoked", &[Code::DeviceRevoked], &status(Status::Revoked(None))),
                ("compromised", &[Code::DeviceRevoked], &status(Status::Revoked(Some(1)))),
                ("on hold", &[Code::DeviceOnHold], &status(Status::Revoked(Some(6)))),
                ("not known", &[Code::DeviceStatusUnknown], &status(Status::Unknown)),
            ],
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn check_5_an_answer_is_current_and_to_our_question() {
    each_is_refused(
        Fabric::hopper,
        &[
            ("over", &[Code::OcspExpired], &|f| {
                f.change(1, |r| r.answers[0].next_update = Some(NOW.saturating_sub(HOUR)));
            }),
            ("without an end", &[Code::OcspExpired], &|f| {
                f.change(1, |r| r.answers[0].next_update = None);
            }),
            ("of tomorrow", &[Code::OcspNotYetValid], &|f| {
                f.change(1, |r| r.answers[0].this_update = NOW.saturating_add(HOUR));
            }),
            ("signed tomorrow", &[Code::OcspNotYetValid], &|f| {
                f.change(1, |r| r.produced = NOW.saturating_add(HOUR));
            }),
            ("no nonce", &[Code::OcspNonceMismatch], &|f| {
                f.expectation = f.expectation.with_ocsp_nonce([7; 32]);
            }),
            ("another nonce", &[Code::OcspNonceMismatch], &|f| {
                f.expectation = f.expectation.with_ocsp_nonce([7; 32]);
                f.ocsp = Box::new(|_, place, mut recipe| {
                    recipe.nonce = Some(vec![if place == 2 { 8 } else { 7 }; 32]);
                    vec![recipe]
                });
            }),
            ("of failure", &[Code::EndorsementsMalformed, Code::OcspMissing], &|f| {
                f.change(1, |r| r.response_status = 6);
            }),
            ("with a condition", &[Code::EndorsementsMalformed, Code::OcspMissing], &|f| {
                f.change(1, |r| {
                    let id = der::object(&[1, 2, 3, 4]);
                    let value = der::octet_string(&[5, 0]);
                    r.extension = Some(der::sequence(&[&id, &der::boolean(true), &value]));
                });
            }),
            ("about another certificate", &[Code::OcspMissing], &|f| {
                f.change(1, |r| r.answers[0].serial[8] ^= 1);
            }),
            ("about another issuer", &[Code::OcspMissing], &|f| {
                f.change(1, |r| r.answers[0].issuer_key[9] ^= 1);
            }),
            ("about an issuer of another name", &[Code::OcspMissing], &|f| {
                f.change(1, |r| r.answers[0].issuer.0.swap(0, 1));
            }),
        ],
    );
    each_is_accepted(
        Fabric::hopper,
        &[
            ("our nonce", &[], &|f| {
                f.expectation = f.expectation.with_ocsp_nonce([7; 32]);
                f.ocsp = Box::new(|_, _, mut recipe| {
                    recipe.nonce = Some(vec![7; 32]);
                    vec![recipe]
                });
            }),
            ("from this moment", &[], &|f| {
                f.change(1, |r| {
                    r.answers[0].this_update = NOW;
                    r.produced = NOW;
                });
            }),
            ("to this moment", &[], &|f| f.change(1, |r| r.answers[0].next_update = Some(NOW))),
            ("named by SHA-256", &[], &|f| f.change(1, |r| r.answers[0].sha256 = true)),
            ("two answers in one response", &[], &|f| {
                f.change(1, |r| {
                    let mut other = r.answers[0].clone();
                    other.serial[8] ^= 1;
                    r.answers.push(other);
                });
            }),
            ("a stale answer beside a good one", &[], &|f| {
                f.say(1, |recipe| {
                    let mut stale = recipe.clone();
                    stale.answers[0].this_update = NOW.saturating_sub(HOUR * 9);
                    stale.answers[0].next_update = Some(NOW.saturating_sub(HOUR * 8));
                    vec![stale, recipe]
                });
            }),
            ("a hold that is over", &[], &|f| {
                f.say(1, |recipe| {
                    let mut held = recipe.clone();
                    held.answers[0].this_update = NOW.saturating_sub(HOUR * 9);
                    held.answers[0].status = Status::Revoked(Some(6));
                    vec![recipe, held]
                });
            }),
        ],
    );
    each_is_refused(
        Fabric::hopper,
        &[
            ("a hold that is newer than a good answer", &[Code::DeviceOnHold], &|f| {
                f.say(1, |recipe| {
                    let mut older = recipe.clone();
                    older.answers[0].this_update = NOW.saturating_sub(HOUR * 2);
                    let mut held = recipe;
                    held.answers[0].status = Status::Revoked(Some(6));
                    vec![held, older]
                });
            }),
            ("a hold that is newer and comes later", &[Code::DeviceOnHold], &|f| {
                f.say(1, |recipe| {
                    let mut older = recipe.clone();
                    older.answers[0].this_update = NOW.saturating_sub(HOUR * 2);
                    let mut held = recipe;
                    held.answers[0].status = Status::Revoked(Some(6));
                    vec![older, held]
                });
            }),
            ("a good answer that is over, and newer than a hold", &[Code::OcspExpired], &|f| {
                f.say(1, |recipe| {
                    let mut over = recipe.clone();
                    over.answers[0].next_update = Some(NOW.saturating_sub(HOUR / 2));
                    let mut held = recipe;
                    held.answers[0].this_update = NOW.saturating_sub(HOUR * 2);
                    held.answers[0].status = Status::Revoked(Some(6));
                    vec![over, held]
                });
            }),
            ("a hold of the same moment as a good answer", &[Code::DeviceOnHold], &|f| {
                f.say(1, |good| {
                    let mut held = good.clone();
                    held.answers[0].status = Status::Revoked(Some(6));
                    vec![held, good]
                });
            }),
            ("a good answer of the same moment as a hold", &[Code::DeviceOnHold], &|f| {
                f.say(1, |good| {
                    let mut held = good.clone();
                    held.answers[0].status = Status::Revoked(Some(6));
                    vec![good, held]
                });
            }),
            ("a revocation that is over, which there is not", &[Code::DeviceRevoked], &|f| {
                f.say(1, |recipe| {
                    let mut revoked = recipe.clone();
                    revoked.answers[0].this_update = NOW.saturating_sub(HOUR * 9);
                    revoked.answers[0].status = Status::Revoked(Some(1));
                    vec![recipe, revoked]
                });
            }),
        ],
    );
}

#[test]
fn check_5_who_answers_may_answer() {
    let not_authorised: &[Code] = &[Code::OcspResponderNotAuthorised];
    each_is_refused(
        Fabric::hopper,
        &[
            ("a forged answer", &[Code::OcspSignatureInvalid], &|f| {
                f.change(1, |r| r.is_forged = true);
            }),
            ("a chip that answers for itself", not_authorised, &|f| {
                let chip = f.devices[0].chain[1].subject.clone();
                f.change(1, move |r| {
                    let responder = r.responder.as_mut().unwrap();
                    responder.0.issuer = chip.clone();
                    responder.1 = Signer::Chip;
                });
            }),
            ("an answer of the device's own", not_authorised, &|f| {
                f.change(1, |r| {
                    let responder = r.responder.as_mut().unwrap();
                    responder.1 = Signer::Chip;
                });
            }),
            ("a responder for something else", not_authorised, &|f| {
                f.change(1, |r| {
                    let extensions = &mut r.responder.as_mut().unwrap().0.extensions;
                    extensions.retain(|extension| extension.oid != EXTENDED_KEY_USAGE);
                });
            }),
            ("a responder whose key may not sign", not_authorised, &|f| {
                f.change(1, |r| {
                    let extensions = &mut r.responder.as_mut().unwrap().0.extensions;
                    extensions.retain(|extension| extension.oid != oid::KEY_USAGE);
                });
            }),
            ("a responder with a condition", not_authorised, &|f| {
                f.change(1, |r| {
                    let unknown = Extension::critical(&[1, 2, 3, 4], vec![5, 0]);
                    r.responder.as_mut().unwrap().0.extensions.push(unknown);
                });
            }),
            ("a responder that is signed as NVIDIA does not", not_authorised, &|f| {
                f.change(1, |r| {
                    let sha256 = der::object(&[1, 2, 840, 10_045, 4, 3, 2]);
                    r.responder.as_mut().unwrap().0.algorithm = der::sequence(&[&sha256]);
                });
            }),
            ("a responder of yesterday", not_authorised, &|f| {
                f.change(1, |r| {
                    r.responder.as_mut().unwrap().0.not_after = NOW.saturating_sub(HOUR);
                });
            }),
            ("a responder of tomorrow", not_authorised, &|f| {
                f.change(1, |r| {
                    r.responder.as_mut().unwrap().0.not_before = NOW.saturating_add(HOUR);
                });
            }),
            ("a responder that names another issuer", not_authorised, &|f| {
                f.change(1, |r| r.responder.as_mut().unwrap().0.issuer.0.swap(0, 1));
            }),
            ("a forged responder", not_authorised, &|f| {
                f.change(1, |r| r.responder.as_mut().unwrap().0.is_forged = true);
            }),
            ("a provisioner that answers for itself", &[Code::OcspSignatureInvalid], &|f| {
                f.change(2, |r| {
                    r.responder = None;
                    r.signer = Some(Signer::Provisioner);
                });
            }),
        ],
    );
    each_is_accepted(
        Fabric::hopper,
        &[
            ("the issuer itself", &[], &|f| {
                f.change(1, |r| {
                    r.responder = None;
                    r.signer = Some(Signer::Provisioner);
                });
            }),
            ("a responder that the root named", &[], &|f| {
                let root = f.devices[0].chain[4].subject.clone();
                f.change(1, move |r| {
                    let responder = r.responder.as_mut().unwrap();
                    responder.0.issuer = root.clone();
                    responder.1 = Signer::Root;
                });
            }),
            ("a responder of this moment", &[], &|f| {
                f.change(1, |r| {
                    let responder = &mut r.responder.as_mut().unwrap().0;
                    (responder.not_before, responder.not_after) = (NOW, NOW);
                });
            }),
            ("a responder of the issuer's name", &[], &|f| {
                let issuer = f.devices[0].chain[2].subject.clone();
                f.change(1, move |r| r.responder.as_mut().unwrap().0.subject = issuer.clone());
            }),
            ("a responder that is named by its key", &[], &|f| f.change(1, |r| r.by_key = true)),
        ],
    );
}

#[test]
fn check_5_whoever_sends_many_forged_answers_is_given_up_on() {
    let judged = |count: u64| {
        let mut fabric = Fabric::hgx(2, 1);
        fabric.say(1, move |good| {
            let forged = (0..count).map(|number| {
                let mut forged = good.clone();
                forged.produced = NOW.saturating_sub(HOUR + Duration::from_secs(number));
                forged.is_forged = true;
                forged
            });
            forged.chain([good.clone()]).collect()
        });
        fabric.judge()
    };
    // A worthless one hides no good one, nor do some.
    assert!(judged(12).is_ok());
    let outcome = judged(40);
    let report = report(&outcome);
    assert_eq!(report.verdict, Verdict::Malformed, "{:#?}", report.findings);
    assert!(codes(report, Severity::Reject).contains(&Code::EvidenceMalformed));
    assert!(!report.claims.contains_key("gpu0"), "nothing is shown of what was not looked at");
    let of_others = report.findings.iter().filter(|it| it.component == "gpu1");
    let mut of_others = of_others.map(|it| it.code);
    assert!(of_others.all(|code| code == Code::NotEvaluated), "{:#?}", report.findings);
}
