//! Lies before anything is sealed: about the fleet, and about evidence.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    ACCEPTED, JUNK, Lie, ODD, SILENT,
    around::{OK, endless, head},
};
use crate::script::{On, Script, Step};

/// What is said of the fleet, which is a hint: it selects nothing by itself.
pub fn about_fleets() -> Vec<Lie> {
    let replaced = |status: &'static str, body: &'static str| {
        Script::raw_on(On::Fleet, move |_| {
            vec![Step::Send([head(status, ""), body.into()].concat())]
        })
    };
    let none = "no-enclaves";
    let nodes = |edit: fn(&mut Value)| {
        Script::fleet(move |fleet| {
            for node in fleet["nodes"].as_array_mut().into_iter().flatten() {
                edit(node);
            }
        })
    };
    vec![
        Lie::new("a fleet of nobody", Script::fleet(|fleet| fleet["nodes"] = json!([])), none),
        Lie::new("a fleet that is not ready", nodes(|node| node["ready"] = false.into()), none),
        Lie::new("a fleet of names that are none", nodes(|node| node["id"] = "../x".into()), none),
        Lie::new("a fleet of strangers", nodes(|node| node["id"] = "0".repeat(32).into()), none),
        Lie::new(
            "a fleet that says it was verified",
            nodes(|node| {
                node["verdict"] = "accepted".into();
                node["ohttp_keys"] = "AAAA".into();
            }),
            ACCEPTED,
        ),
        Lie::new(
            "one enclave a thousand times",
            Script::fleet(|fleet| {
                let one = fleet["nodes"][0].clone();
                fleet["nodes"] = vec![one; 1000].into();
            }),
            ACCEPTED,
        ),
        Lie::new("a page instead of the fleet", replaced(OK, "<html>"), SILENT),
        Lie::new("a number instead of the fleet", replaced(OK, "7"), SILENT),
        Lie::new("nothing instead of the fleet", replaced(OK, ""), SILENT),
        Lie::new("a fleet that needs a login", replaced("HTTP/1.1 302 Found", ""), ODD),
        Lie::new("an error instead of the fleet", replaced("HTTP/1.1 500 x", "{}"), ODD),
        Lie::new(
            "a fleet without end",
            Script::raw_on(On::Fleet, |_| endless(head(OK, ""), &[b' '; 4096])),
            SILENT,
        ),
        Lie::new(
            "a fleet as deep as the sea",
            Script::raw_on(On::Fleet, |_| {
                vec![Step::Send([head(OK, ""), vec![b'['; 100_000]].concat())]
            }),
            SILENT,
        ),
    ]
}

/// What is done to evidence: nothing is sealed to whom it does not vouch for.
pub fn about_evidence(foreign: &Value) -> Vec<Lie> {
    let mut all = vec![
        Lie::new("stale evidence", Script::StaleEvidence, "challenge-not-answered"),
        Lie::new(
            "a member that nobody knows",
            Script::bundle(|bundle| bundle["debug"] = bundle["config"].clone()),
            "evidence-malformed",
        ),
        Lie::new(
            "evidence of an accelerator",
            Script::bundle(|bundle| bundle["accel0"] = bundle["cpu0"].clone()),
            JUNK,
        ),
        Lie::new("evidence in another spelling", Script::bundle(|_| {}), ACCEPTED),
        Lie::new(
            "members in another order",
            Script::bundle(|bundle| {
                let mut members: Vec<_> =
                    bundle.as_object().cloned().unwrap_or_default().into_iter().collect();
                members.reverse();
                *bundle = members.into_iter().collect();
            }),
            ACCEPTED,
        ),
        Lie::new("evidence cut short", raw_evidence(|body| body[..body.len() / 2].to_vec()), JUNK),
        Lie::new("evidence and an octet", raw_evidence(|body| [body, b"x"].concat()), JUNK),
        Lie::new("evidence twice", raw_evidence(|body| [body, body].concat()), JUNK),
        Lie::new("a page instead of evidence", raw_evidence(|_| b"<html>".to_vec()), JUNK),
        Lie::new("nothing instead of evidence", raw_evidence(|_| Vec::new()), JUNK),
        Lie::new(
            "evidence without end",
            Script::raw_on(On::Evidence, |_| endless(head(OK, ""), &[b' '; 4096])),
            "no-enclaves",
        ),
        Lie::new(
            "no time for evidence",
            Script::raw_on(On::Evidence, |_| vec![Step::Send(head("HTTP/1.1 503 Busy", ""))]),
            "no-enclaves",
        ),
        Lie::new(
            "no evidence at all",
            Script::raw_on(On::Evidence, |_| vec![Step::Send(head("HTTP/1.1 404 x", ""))]),
            "no-enclaves",
        ),
    ];
    for (member, junk, theirs) in MEMBERS {
        all.push(Lie::new(
            format!("{member} replaced by junk"),
            Script::swap_member(member, b"{}"),
            junk,
        ));
        all.push(Lie::new(
            format!("evidence without {member}"),
            Script::bundle(move |bundle| {
                bundle.as_object_mut().and_then(|members| members.remove(member));
            }),
            JUNK,
        ));
        let foreign = foreign[member].clone();
        all.push(Lie::new(
            format!("{member} of another enclave"),
            Script::bundle(move |bundle| bundle[member] = foreign.clone()),
            theirs,
        ));
    }
    all
}

fn raw_evidence(edit: fn(&[u8]) -> Vec<u8>) -> Script {
    Script::Evidence(Arc::new(edit))
}

/// Members of a bundle: what a client says of junk in their place, and of another enclave's.
const MEMBERS: [(&str, &str, &str); 7] = [
    ("statement", JUNK, "report-data-mismatch"),
    ("ohttp_keys", JUNK, "member-mismatch"),
    ("receipt_key", JUNK, "member-mismatch"),
    ("manifest", JUNK, ACCEPTED),
    ("config", "member-mismatch", ACCEPTED),
    ("freshness", JUNK, "report-data-mismatch"),
    ("cpu0", JUNK, "signature-invalid"),
];
