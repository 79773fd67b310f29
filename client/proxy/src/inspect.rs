//! What the proxy says of itself: models, verdicts, receipts.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::{Closing, NodeVerdict};
use serde_json::{Value, json};

use crate::Shared;
use crate::problem::Problem;

/// `GET /v1/models`: the models of verified enclaves, and of none else.
pub(crate) async fn models(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Problem> {
    let data: Vec<_> = shared.client.models().await?.iter().map(|name| object(name)).collect();
    Ok(Json(json!({"object": "list", "data": data})))
}

/// `GET /v1/models/{model}`.
pub(crate) async fn model(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let models = shared.client.models().await?;
    let found = models.iter().find(|have| **have == name);
    found.map(|name| Json(object(name))).ok_or(Problem::NoModel(name))
}

/// `GET /v1/verification`: the last verdict with all findings, per enclave.
pub(crate) async fn verification(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let client = &shared.client;
    // Why nobody could be verified is told below as well as why somebody was refused.
    let failure = client.enclaves().await.err();
    let nodes: Vec<_> = client.verdicts().iter().map(node).collect();
    let policy = client.policy();
    Json(json!({
        "router": client.router().to_string(),
        "policy": {"name": policy.name(), "version": policy.version(), "digest": policy.digest()},
        "nodes": nodes,
        "error": failure.as_ref().map(error),
    }))
}

/// `GET /v1/receipts/{completion id}`: the claims, and the exact octets in base64url as in the trailer.
pub(crate) async fn receipt(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let closing = shared.receipts.find(&id).ok_or(Problem::NoReceipt)?;
    Ok(Json(receipt_json(&id, &closing)))
}

fn object(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "veritee"})
}

fn node(verdict: &NodeVerdict) -> Value {
    let NodeVerdict { node_id, report, error: failure } = verdict;
    json!({
        "node_id": node_id.to_string(),
        "verdict": report.as_ref().map(|report| report.verdict),
        "report": report,
        "error": failure.as_ref().map(error),
    })
}

fn error(error: &client::Error) -> Value {
    json!({"code": error.code(), "message": error.to_string(), "next": error.next_step()})
}

fn receipt_json(id: &str, closing: &Closing) -> Value {
    let claims = closing.receipt().receipt();
    json!({
        "id": id,
        "node_id": closing.node_id().to_string(),
        "receipt": URL_SAFE_NO_PAD.encode(closing.signed()),
        "digest": closing.receipt().digest(),
        "claims": {
            "binding_id": claims.binding_id.0,
            "request": claims.request,
            "req_mac": claims.req_mac,
            "res_mac": claims.res_mac,
            "par_mac": claims.par_mac,
            "manifest": claims.manifest,
            "usage": {
                "prompt": claims.usage.prompt,
                "completion": claims.usage.completion,
                "cached": claims.usage.cached,
            },
            "finish_reason": claims.finish.as_str(),
            "started": claims.started,
            "ended": claims.ended,
            "bound": claims.bound,
            "seq": claims.seq,
            "previous": claims.previous,
        },
    })
}
